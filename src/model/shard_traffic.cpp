#include <galapagos/model/shard_traffic.hpp>

namespace galapagos {
namespace {

/// Halves of layers of which any shard has something; the others are left out by all.
std::int64_t attentions(std::span<const LayerShape> layers) {
  std::int64_t count = 0;
  for (const LayerShape& layer : layers) count += layer.heads() > 0 ? 1 : 0;
  return count;
}

std::int64_t feed_forwards(std::span<const LayerShape> layers) {
  std::int64_t count = 0;
  for (const LayerShape& layer : layers) count += layer.columns > 0 ? 1 : 0;
  return count;
}

double states(std::int64_t hidden_size, std::int64_t times = 1, DType type = DType::f32) {
  return static_cast<double>(hidden_size * times) * static_cast<double>(size_of(type));
}

}  // namespace

ShardTraffic& ShardTraffic::operator+=(const ShardTraffic& other) {
  layers += other.layers;
  embedding += other.embedding;
  head += other.head;
  losses += other.losses;
  return *this;
}

ShardTraffic ShardTraffic::times(double factor) const {
  return {factor * layers, factor * embedding, factor * head, factor * losses};
}

ShardTraffic ShardTraffic::moved(int shards) const {
  return {moved_by_sum(layers, shards), moved_by_sum(embedding, shards), moved_by_sum(head, shards),
          moved_by_gather(losses, shards)};
}

double moved_by_sum(double bytes, int ranks) {
  return 2 * bytes * (ranks - 1) / ranks;
}

double moved_by_gather(double bytes, int ranks) {
  return bytes * (ranks - 1);
}

ShardTraffic forward_traffic(std::int64_t hidden_size, std::span<const LayerShape> layers,
                             DType activations) {
  ShardTraffic traffic;
  traffic.layers = states(hidden_size, attentions(layers) + feed_forwards(layers), activations);
  traffic.embedding = states(hidden_size);
  return traffic;
}

ShardTraffic backward_traffic(std::int64_t hidden_size, std::span<const LayerShape> layers, bool recompute,
                              DType activations, bool post_norms) {
  ShardTraffic traffic;
  traffic.layers = states(hidden_size, attentions(layers) + feed_forwards(layers));
  // A tape needs what leaves the attention, not what leaves the layer, but where that is normed; the last
  // layer's is still there.
  if (recompute && !layers.empty()) {
    const auto before = layers.first(layers.size() - 1);
    traffic.layers +=
        states(hidden_size, attentions(before) + (post_norms ? feed_forwards(before) : 0), activations);
  }
  traffic.head = states(hidden_size);
  return traffic;
}

ShardTraffic sparse_divergence_traffic(std::int64_t vocabulary) {
  ShardTraffic traffic;
  traffic.head = 2 * static_cast<double>(vocabulary) * sizeof(float);
  return traffic;
}

}  // namespace galapagos
