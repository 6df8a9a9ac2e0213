#include "text_config.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// Of a model of text and images: what its text model is where it does not say so, and what Gemma 3's
/// released configs leave out.
struct Holder {
  std::string_view model_type;
  std::string_view text_type;
  bool with_defaults;
};
constexpr std::array holders = {Holder{"mistral3", "mistral", false}, Holder{"gemma3", "gemma3_text", true}};
constexpr std::array<std::pair<const char*, int>, 4> gemma_defaults = {
    {{"num_attention_heads", 8}, {"num_key_value_heads", 4}, {"head_dim", 256}, {"vocab_size", 262208}}};

const char* class_of(const std::string& text_type) {
  return text_type == "gemma3_text"  ? "Gemma3ForCausalLM"
         : text_type == "ministral3" ? "Ministral3ForCausalLM"
                                     : "MistralForCausalLM";
}

}  // namespace

Json text_config_of(const Json& json, const std::string& where) {
  if (json_absent(json, "model_type") || !json["model_type"].is_string()) return json;
  const auto holder = std::ranges::find_if(
      holders, [&](const Holder& one) { return json["model_type"] == std::string(one.model_type); });
  if (holder == holders.end()) return json;
  if (json_absent(json, "text_config") || !json["text_config"].is_object())
    throw InputError("no object 'text_config'", where, "copy or download the file again");
  Json text = json["text_config"];
  if (json_absent(text, "model_type")) text["model_type"] = holder->text_type;
  for (const char* key : {"dtype", "torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id"})
    if (json_absent(text, key) && !json_absent(json, key)) text[key] = json[key];
  // The outer model ties, if any does. Where it does not say, transformers 5 ties what is not stored twice.
  text["tie_word_embeddings"] =
      json_absent(json, "tie_word_embeddings") ? Json() : json["tie_word_embeddings"];
  if (holder->with_defaults) {
    for (const auto& [key, value] : gemma_defaults)
      if (!text.contains(key)) text[key] = value;
  }
  if (!json_absent(json, "quantization_config")) text["quantization_config"] = json["quantization_config"];
  if (text["model_type"].is_string())
    text["architectures"] = {class_of(text["model_type"].get<std::string>())};
  return text;
}

std::string text_name_of(std::string_view name) {
  if (name.starts_with("model.vision_tower.") || name.starts_with("model.multi_modal_projector.") ||
      name.starts_with("vision_tower.") || name.starts_with("multi_modal_projector."))
    return {};
  if (constexpr std::string_view inner = "model.language_model."; name.starts_with(inner))
    return "model." + std::string(name.substr(inner.size()));
  if (constexpr std::string_view outer = "language_model."; name.starts_with(outer))
    return std::string(name.substr(outer.size()));
  return std::string(name);
}

}  // namespace galapagos
