#include "reshape.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// transformers' class of a family.
std::string class_of(const std::string& model_type) {
  struct Known {
    std::string_view type, name;
  };
  constexpr auto known = std::to_array<Known>({{"llama", "Llama"},
                                               {"mistral", "Mistral"},
                                               {"ministral", "Ministral"},
                                               {"ministral3", "Ministral3"},
                                               {"qwen2", "Qwen2"},
                                               {"qwen3", "Qwen3"},
                                               {"qwen3_moe", "Qwen3Moe"},
                                               {"mixtral", "Mixtral"},
                                               {"phi3", "Phi3"},
                                               {"smollm3", "SmolLM3"},
                                               {"gemma", "Gemma"},
                                               {"gemma2", "Gemma2"},
                                               {"gemma3_text", "Gemma3"}});
  const auto found = std::ranges::find(known, model_type, &Known::type);
  if (found == known.end())
    throw FailureError("a family without a class", model_type, "report this as a defect");
  return std::string(found->name) + "ForCausalLM";
}

Json unpruned_config(const HfConfig& pruned, std::span<const LayerFit>) {
  Json json = pruned.source;
  const std::string type = json.at("base_model_type");
  json["model_type"] = type;
  json["architectures"] = {class_of(type)};
  for (const char* key : {"base_model_type", "auto_map", "pruned_layers", "layer_windows", "layer_ropes"})
    json.erase(key);
  return json;
}

}  // namespace

Reshape unpruned() {
  return {unpruned_shapes, unpruned_config, true, {}};
}

}  // namespace galapagos
