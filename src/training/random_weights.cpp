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

/// What a tensor belongs to, for its random numbers.
struct Place {
  std::int64_t layer = 0, expert = no_expert;
};

class Maker {
 public:
  /// `ones`: what a norm that changes nothing has as its weight.
  Maker(DType precision, Device device, std::uint64_t seed, double deviation, float ones)
      : precision_(precision), device_(device), seed_(seed), deviation_(deviation), ones_(ones) {}

  /// What `own` has of a tensor.
  OwnedTensor tensor(const TensorSpec& spec, const Place& place, const Extents& whole,
                     const Extents& own) const {
    const Range& rows = own.of(spec.rows);
    if (spec.initial == InitialValues::normal)
      return normal(rows, own.of(spec.columns), whole.of(spec.columns).count(), place, spec.stream);
    OwnedTensor host({rows.count()}, DType::f32, Device::cpu, "weights");
    std::ranges::fill(host->float_span(), spec.initial == InitialValues::ones ? ones_ : 0.0f);
    return on_device(std::move(host));
  }

 private:
  /// Rows `rows` and columns `columns` of a matrix that is `width` wide.
  OwnedTensor normal(const Range& rows, const Range& columns, std::int64_t width, const Place& place,
                     std::uint32_t stream) const {
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
      fill(values, (rows.first + run) * width + columns.first + first, place, stream);
      convert_from_float(values, precision_,
                         host->data + static_cast<std::size_t>(run * length + first) * size_of(precision_));
    }
    return on_device(std::move(host));
  }

  /// The numbers of a tensor's elements from `first` on.
  void fill(std::span<float> values, std::int64_t first, const Place& place, std::uint32_t stream) const {
    RandomStream random(seed_, {stream, static_cast<std::uint32_t>(place.layer),
                                static_cast<std::uint32_t>(place.expert - no_expert), weight_draw});
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
  float ones_;
};

}  // namespace

ModelSource random_source(const HfConfig& config, const ModelPart& part, DType precision, Device device,
                          std::uint64_t seed) {
  const auto found = config.source.find("initializer_range");
  const double deviation = found != config.source.end() && found->is_number() ? found->get<double>() : 0.02;
  const Maker make(precision, device, seed, deviation, config.features.shifted_norms ? 0.0f : 1.0f);
  const auto outer = [make, whole = Extents(config, LayerShape()),
                      own = Extents(config, LayerPart(), part.vocabulary)](const TensorSpec& spec) {
    return make.tensor(spec, Place(), whole, own);
  };
  ModelSource source;
  source.config = part.config;
  source.precision = precision;
  source.layer = [make, config, layers = part.layers](std::int64_t layer) {
    return make_layer(
        config, layer, layers[static_cast<std::size_t>(layer)],
        [&](const TensorSpec& spec, std::int64_t expert, const Extents& whole, const Extents& own) {
          return make.tensor(spec, Place{layer, expert}, whole, own);
        });
  };
  source.embedding = [outer] { return outer(layer_tensors::embedding); };
  source.head = [outer, tied = config.tie_word_embeddings] {
    return HeadWeights{outer(layer_tensors::final_norm),
                       outer(tied ? layer_tensors::embedding : layer_tensors::head)};
  };
  return source;
}

}  // namespace galapagos
