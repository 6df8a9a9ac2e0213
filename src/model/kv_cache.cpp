#include <galapagos/model/kv_cache.hpp>

namespace galapagos {

void TextRows::add(std::int64_t place, std::int64_t start, std::int64_t rows, std::int64_t length) {
  offsets.push_back(offsets.back() + rows);
  starts.push_back(start);
  places.push_back(place);
  lengths.push_back(length);
}

KvCache::KvCache(const ops::Context& context, const HfConfig& config, std::int64_t places,
                 std::int64_t capacity)
    : capacity_(capacity) {
  for (const LayerShape& shape : config.layer_shapes) {
    const auto tensor = [&] {
      return OwnedTensor({places * shape.kv_heads, capacity, config.head_dim}, context.activations(),
                         context.device(), "keys and values");
    };
    layers_.push_back({tensor(), tensor(), shape.kv_heads});
  }
}

ops::HeadCache KvCache::layer(std::int64_t layer) const {
  const Layer& one = layers_[static_cast<std::size_t>(layer)];
  return {one.keys, one.values, one.kv_heads};
}

}  // namespace galapagos
