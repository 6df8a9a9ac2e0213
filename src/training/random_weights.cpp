#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>

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
    OwnedTensor host({length}, DType::f32, Device::cpu, "weights");
    std::ranges::fill(host->float_span(), value);
    return on_device(std::move(host));
  }

  /// Rows `rows` and columns `columns` of a matrix that is `width` wide.
  OwnedTensor normal(const Range& rows, const Range& columns, std::int64_t width, std::int64_t layer,
                     Place place) const {
    // Whole rows follow each other in the stream.
    const bool whole = columns.count() == width;
    const std::int64_t runs = whole ? 1 : rows.count(),
                       length = rows.count() * columns.count() / std::max<std::int64_t>(runs, 1);
    constexpr std::int64_t piece = 1 << 14;
    const std::int64_t pieces = (length + piece - 1) / piece;
    OwnedTensor host({rows.count(), columns.count()}, precision_, Device::cpu, "weights");
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < runs * pieces; ++i) {
      const std::int64_t run = i / pieces, first = i % pieces * piece;
      std::array<float, piece> memory;
      const auto values = std::span(memory).first(static_cast<std::size_t>(std::min(piece, length - first)));
      fill(values, (rows.first + run) * width + columns.first + first, layer, place);
      convert_from_float(values, precision_,
                         host->data + static_cast<std::size_t>(run * length + first) * size_of(precision_));
    }
    return on_device(std::move(host));
  }

 private:
  /// The numbers of a tensor's elements from `first` on.
  void fill(std::span<float> values, std::int64_t first, std::int64_t layer, Place place) const {
    RandomStream random(
        seed_, {static_cast<std::uint32_t>(place), static_cast<std::uint32_t>(layer), 0, weight_draw});
    const auto uniform = [&] { return (static_cast<double>(random.next()) + 0.5) / 4294967296.0; };
    const std::int64_t end = first + static_cast<std::int64_t>(values.size());
    random.skip(static_cast<std::uint64_t>(first - first % 2));
    for (std::int64_t i = first - first % 2; i < end; i += 2) {  // Box and Muller 1958
      const double radius = deviation_ * std::sqrt(-2 * std::log(uniform()));
      const double angle = 2 * std::numbers::pi * uniform();
      if (i >= first)
        values[static_cast<std::size_t>(i - first)] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < end)
        values[static_cast<std::size_t>(i + 1 - first)] = static_cast<float>(radius * std::sin(angle));
    }
  }

  OwnedTensor on_device(OwnedTensor host) const {
    return device_ == Device::cpu ? std::move(host) : copy_of(host, device_, "weights");
  }
  DType precision_;
  Device device_;
  std::uint64_t seed_;
  double deviation_;
};

LayerWeights random_layer(const Maker& make, const HfConfig& config, const LayerPart& part,
                          std::int64_t layer) {
  const LayerShape& shape = config.shape(layer);
  const std::int64_t hidden = config.hidden_size, head_dim = config.head_dim;
  const Range all = {0, hidden};
  const Range q = {part.heads.first * head_dim, part.heads.last * head_dim};
  const Range kv = {part.kv_heads.first * head_dim, part.kv_heads.last * head_dim};
  LayerWeights weights;
  if (shape.heads() > 0) {
    AttentionWeights& attention = weights.attention;
    LayerShape own = part_of_layer(shape, part);
    attention.kv_heads = own.kv_heads;
    attention.kv_of_head = std::move(own.kv_of_head);
    attention.norm = make.constant(hidden, 1);
    attention.q = make.normal(q, all, hidden, layer, Place::q);
    attention.k = make.normal(kv, all, hidden, layer, Place::k);
    attention.v = make.normal(kv, all, hidden, layer, Place::v);
    attention.o = make.normal(all, q, shape.heads() * head_dim, layer, Place::o);
    if (config.qkv_bias) {
      attention.q_bias = make.constant(q.count(), 0);
      attention.k_bias = make.constant(kv.count(), 0);
      attention.v_bias = make.constant(kv.count(), 0);
    }
  }
  if (shape.columns > 0) {
    FfnWeights& ffn = weights.ffn;
    ffn.columns = part.columns.count();
    ffn.norm = make.constant(hidden, 1);
    ffn.gate = make.normal(part.columns, all, hidden, layer, Place::gate);
    ffn.up = make.normal(part.columns, all, hidden, layer, Place::up);
    ffn.down = make.normal(all, part.columns, shape.columns, layer, Place::down);
  }
  return weights;
}

}  // namespace

ModelSource random_source(const HfConfig& config, const ModelPart& part, DType precision, Device device,
                          std::uint64_t seed) {
  const auto found = config.source.find("initializer_range");
  const double deviation = found != config.source.end() && found->is_number() ? found->get<double>() : 0.02;
  const Maker make(precision, device, seed, deviation);
  const auto words = [make, hidden = config.hidden_size, ids = part.vocabulary](Place place) {
    return make.normal(ids, {0, hidden}, hidden, 0, place);
  };
  ModelSource source;
  source.config = part.config;
  source.precision = precision;
  source.layer = [make, config, layers = part.layers](std::int64_t layer) {
    return random_layer(make, config, layers[static_cast<std::size_t>(layer)], layer);
  };
  source.embedding = [words] { return words(Place::embedding); };
  source.head = [make, config, words] {
    return HeadWeights{make.constant(config.hidden_size, 1),
                       words(config.tie_word_embeddings ? Place::embedding : Place::head)};
  };
  return source;
}

}  // namespace galapagos
