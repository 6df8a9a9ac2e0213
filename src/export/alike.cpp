#include "alike.hpp"

#include "reshape.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

[[noreturn]] void unlike(std::size_t layer, const std::string& what) {
  throw UsageError(
      fmt::format("layer {} {}, and the family's own class has layers that are alike", layer, what),
      "--format family", "give hf, or an assignment of one level");
}

/// What all layers have, once the first of each kind has said it.
class Common {
 public:
  void look(std::size_t layer, const LayerShape& shape, bool was_mixture) {
    if (shape.heads() == 0) unlike(layer, "has no attention");
    if (shape.columns == 0) unlike(layer, "has no feed-forward part");
    const bool even = shape.heads() % shape.kv_heads == 0 &&
                      shape.kv_of_head == even_layer_shape(shape.heads(), shape.kv_heads, 0).kv_of_head;
    if (!even) unlike(layer, "has KV heads with different numbers of query heads");
    agree(heads, shape.heads(), layer, "query heads");
    agree(kv_heads, shape.kv_heads, layer, "KV heads");
    if (!was_mixture) return agree(columns, shape.columns, layer, "columns");
    agree(experts, std::ssize(shape.experts), layer, "experts");
    for (const std::int64_t width : shape.experts) agree(expert_size, width, layer, "columns in an expert");
  }

  std::optional<std::int64_t> heads, kv_heads, columns, experts, expert_size;

 private:
  static void agree(std::optional<std::int64_t>& common, std::int64_t own, std::size_t layer,
                    const char* what) {
    if (common.value_or(own) != own)
      unlike(layer, fmt::format("has {} {} where another has {}", own, what, *common));
    common = own;
  }
};

}  // namespace

Json alike_config(const HfConfig& parent, const std::vector<LayerShape>& shapes) {
  Common common;
  for (std::size_t layer = 0; layer < shapes.size(); ++layer)
    common.look(layer, shapes[layer], parent.layer_shapes[layer].mixture());
  Json json = parent.pruned() ? unpruned().config(parent, {}) : parent.source;
  json.erase("auto_map");  // its code does not go along, and transformers has its own
  json["num_attention_heads"] = common.heads.value();
  json["num_key_value_heads"] = common.kv_heads.value();
  json["head_dim"] = parent.head_dim;
  if (common.columns) json["intermediate_size"] = *common.columns;
  if (!common.experts) return json;
  const bool mixtral = parent.model_type == "mixtral";
  json[mixtral ? "intermediate_size" : "moe_intermediate_size"] = common.expert_size.value();
  // transformers 5 writes the one for all families, 4 reads the other for some.
  if (mixtral || json.contains("num_local_experts")) json["num_local_experts"] = *common.experts;
  if (!mixtral) json["num_experts"] = *common.experts;
  json["num_experts_per_tok"] = std::min(parent.mixture->experts_per_token, *common.experts);
  return json;
}

}  // namespace galapagos
