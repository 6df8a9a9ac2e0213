#include <fmt/format.h>

#include <galapagos/model/layer_tensors.hpp>

namespace galapagos {
namespace {

/// Whether shards have a part of it each.
bool dealt(Axis axis) {
  return axis == Axis::q || axis == Axis::kv || axis == Axis::ffn || axis == Axis::vocabulary;
}

}  // namespace

Slicing TensorSpec::slicing() const {
  return dealt(rows) ? Slicing::rows : dealt(columns) ? Slicing::columns : Slicing::none;
}

std::string layer_tensor_name(std::int64_t layer, std::string_view name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

std::string layer_tensor_name(std::int64_t layer, std::int64_t expert, std::string_view name) {
  if (expert == no_expert) return layer_tensor_name(layer, name);
  return fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, expert, name);
}

Extents::Extents(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads, std::int64_t columns,
                 std::int64_t experts)
    : Extents(config, LayerPart{{0, kv_heads}, {0, heads}, {0, columns}, experts}, {0, config.vocab_size}) {}

Extents::Extents(const HfConfig& config, const LayerPart& part, const Range& ids) {
  const auto elements = [&](const Range& heads) {
    return Range{heads.first * config.head_dim, heads.last * config.head_dim};
  };
  at(Axis::hidden) = {0, config.hidden_size};
  at(Axis::q) = elements(part.heads);
  at(Axis::kv) = elements(part.kv_heads);
  at(Axis::head_dim) = {0, config.head_dim};
  at(Axis::ffn) = part.columns;
  at(Axis::experts) = {0, part.experts};
  at(Axis::vocabulary) = ids;
}

Shape Extents::shape(const TensorSpec& spec) const {
  const std::int64_t rows = of(spec.rows).count();
  return spec.vector() ? Shape{rows} : Shape{rows, of(spec.columns).count()};
}

}  // namespace galapagos
