#include <cmath>
#include <numbers>
#include <vector>

#include <galapagos/core/random.hpp>
#include <galapagos/training/random_weights.hpp>

namespace galapagos {
namespace {

constexpr std::uint8_t weight_draw = 17;  // apart from what a search or the order of the data draws

/// Which tensor of a layer; with the layer it names a stream of random numbers.
enum class Place : std::uint32_t { q, k, v, o, gate, up, down, embedding, head };

class Maker {
 public:
  Maker(DType precision, Device device, std::uint64_t seed, double deviation)
      : precision_(precision), device_(device), seed_(seed), deviation_(deviation) {}

  OwnedTensor constant(std::int64_t length, float value) const {
    return stored(std::vector<float>(static_cast<std::size_t>(length), value), {length}, DType::f32);
  }

  OwnedTensor normal(std::int64_t rows, std::int64_t columns, std::int64_t layer, Place place) const {
    RandomStream random(
        seed_, {static_cast<std::uint32_t>(place), static_cast<std::uint32_t>(layer), 0, weight_draw});
    const auto uniform = [&] { return (static_cast<double>(random.next()) + 0.5) / 4294967296.0; };
    std::vector<float> values(static_cast<std::size_t>(rows * columns));
    for (std::size_t i = 0; i < values.size(); i += 2) {  // Box and Muller 1958
      const double radius = deviation_ * std::sqrt(-2 * std::log(uniform()));
      const double angle = 2 * std::numbers::pi * uniform();
      values[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
    return stored(values, {rows, columns}, precision_);
  }

 private:
  OwnedTensor stored(const std::vector<float>& values, Shape shape, DType type) const {
    OwnedTensor host(shape, type, Device::cpu, "weights");
    convert_from_float(values, type, host->data);
    if (device_ == Device::cpu) return host;
    OwnedTensor moved(shape, type, device_, "weights");
    copy_bytes(moved->data, device_, host->data, Device::cpu, host->bytes());
    return moved;
  }

  DType precision_;
  Device device_;
  std::uint64_t seed_;
  double deviation_;
};

LayerWeights random_layer(const Maker& make, const HfConfig& config, std::int64_t layer) {
  const LayerShape& shape = config.shape(layer);
  const std::int64_t hidden = config.hidden_size, q_width = shape.heads() * config.head_dim;
  const std::int64_t kv_width = shape.kv_heads * config.head_dim;
  LayerWeights weights;
  if (shape.heads() > 0) {
    AttentionWeights& attention = weights.attention;
    attention.kv_heads = shape.kv_heads;
    attention.kv_of_head = shape.kv_of_head;
    attention.norm = make.constant(hidden, 1);
    attention.q = make.normal(q_width, hidden, layer, Place::q);
    attention.k = make.normal(kv_width, hidden, layer, Place::k);
    attention.v = make.normal(kv_width, hidden, layer, Place::v);
    attention.o = make.normal(hidden, q_width, layer, Place::o);
    if (config.qkv_bias) {
      attention.q_bias = make.constant(q_width, 0);
      attention.k_bias = make.constant(kv_width, 0);
      attention.v_bias = make.constant(kv_width, 0);
    }
  }
  if (shape.columns > 0) {
    FfnWeights& ffn = weights.ffn;
    ffn.columns = shape.columns;
    ffn.norm = make.constant(hidden, 1);
    ffn.gate = make.normal(shape.columns, hidden, layer, Place::gate);
    ffn.up = make.normal(shape.columns, hidden, layer, Place::up);
    ffn.down = make.normal(hidden, shape.columns, layer, Place::down);
  }
  return weights;
}

}  // namespace

ModelSource random_source(const HfConfig& config, DType precision, Device device, std::uint64_t seed) {
  const auto found = config.source.find("initializer_range");
  const double deviation = found != config.source.end() && found->is_number() ? found->get<double>() : 0.02;
  const Maker make(precision, device, seed, deviation);
  ModelSource source;
  source.config = config;
  source.precision = precision;
  source.layer = [make, config](std::int64_t layer) { return random_layer(make, config, layer); };
  source.embedding = [make, config] {
    return make.normal(config.vocab_size, config.hidden_size, 0, Place::embedding);
  };
  source.head = [make, config] {
    return HeadWeights{make.constant(config.hidden_size, 1),
                       make.normal(config.vocab_size, config.hidden_size, 0,
                                   config.tie_word_embeddings ? Place::embedding : Place::head)};
  };
  return source;
}

}  // namespace galapagos
