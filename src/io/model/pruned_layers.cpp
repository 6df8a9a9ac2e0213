#include "pruned_layers.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// The columns of a mixture's experts.
std::vector<std::int64_t> pruned_experts(const Json& json, const HfConfig& config, const std::string& where) {
  if (!config.mixture)
    throw InputError("experts in a family without mixtures", where, "export the model again");
  if (!json.is_array() || json.size() > static_cast<std::size_t>(config.mixture->experts)) {
    throw InputError(
        fmt::format("experts should be a list of the columns of each of at most {}", config.mixture->experts),
        where, "export the model again");
  }
  std::vector<std::int64_t> experts;
  for (const Json& columns : json)
    experts.push_back(
        json_integer(Json::object({{"experts", columns}}), "experts", 1, config.mixture->expert_size, where));
  return experts;
}

LayerShape pruned_layer(const Json& json, const HfConfig& config, const std::string& where) {
  if (!json.is_object()) throw InputError("is not an object", where, "export the model again");
  LayerShape shape;
  const bool mixture = !json_absent(json, "experts");
  if (mixture) shape.experts = pruned_experts(json["experts"], config, where);
  const std::int64_t widest =
      mixture ? config.mixture->experts * config.mixture->expert_size : config.intermediate_size;
  shape.columns = json_integer(json, "intermediate_size", 0, widest, where);
  if (mixture &&
      shape.columns != std::accumulate(shape.experts.begin(), shape.experts.end(), std::int64_t{0}))
    throw InputError("intermediate_size is not the sum of experts", where, "export the model again");
  shape.kv_heads = json_integer(json, "num_key_value_heads", 0, config.kv_heads, where);
  if (json_absent(json, "kv_of_head") || !json["kv_of_head"].is_array()) {
    throw InputError("no list 'kv_of_head'", where, "export the model again");
  }
  for (const Json& head : json["kv_of_head"]) {
    if (!head.is_number_integer() || head < 0 || head >= shape.kv_heads) {
      throw InputError(fmt::format("kv_of_head holds {}, but there are {} KV heads",
                                   printable(head.dump(-1, ' ', true), 40), shape.kv_heads),
                       where, "export the model again");
    }
    shape.kv_of_head.push_back(head.get<std::int32_t>());
  }
  std::vector<bool> used(static_cast<std::size_t>(shape.kv_heads), false);
  for (const std::int32_t kv : shape.kv_of_head) used[static_cast<std::size_t>(kv)] = true;
  const bool sound = std::is_sorted(shape.kv_of_head.begin(), shape.kv_of_head.end()) &&
                     shape.heads() <= config.heads &&
                     std::find(used.begin(), used.end(), false) == used.end();
  if (!sound) {
    throw InputError("kv_of_head should ascend and use every KV head", where, "export the model again");
  }
  return shape;
}

}  // namespace

std::vector<LayerShape> read_pruned_layers(const Json& json, const HfConfig& config,
                                           const std::string& where) {
  constexpr const char* key = "pruned_layers";
  if (json_absent(json, key) || !json[key].is_array() ||
      json[key].size() != static_cast<std::size_t>(config.layers)) {
    throw InputError(fmt::format("pruned_layers should be a list of {} layers", config.layers), where,
                     "copy or download the file again");
  }
  std::vector<LayerShape> shapes;
  for (const Json& layer : json[key])
    shapes.push_back(pruned_layer(layer, config, fmt::format("{}, pruned_layers {}", where, shapes.size())));
  return shapes;
}

}  // namespace galapagos
