#include "darwinlm_model.hpp"

#include "families.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <initializer_list>
#include <set>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

bool names_darwinlm(const Json& text) {
  if (!text.is_string()) return false;
  std::string lower = text.get<std::string>();
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower.find("darwinlm") != std::string::npos;
}

/// Reads one layer's shape.
class LayerReader {
 public:
  LayerReader(const HfConfig& config, const Checkpoint& checkpoint, std::int64_t layer)
      : config_(config), checkpoint_(checkpoint), layer_(layer) {}

  LayerShape read() const {
    // DarwinLM keeps a layer's norms whatever else is gone: where they are, so is what the layer has.
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) checkpoint_.entry(name_of(norm));
    absent_together("self_attn.q_proj", {"self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"});
    absent_together("mlp.gate_proj", {"mlp.up_proj", "mlp.down_proj"});
    LayerShape shape = heads_of(units("self_attn.q_proj", config_.head_dim, config_.heads),
                                units("self_attn.k_proj", config_.head_dim, config_.kv_heads));
    shape.columns = units("mlp.gate_proj", 1, config_.intermediate_size);
    return shape;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(fmt::format("layer {}: {}", layer_, what), checkpoint_.folder().string(),
                     "stitch the model from its database and assignment instead (galapagos convert)");
  }

  std::string name_of(const char* module) const {
    return fmt::format("model.layers.{}.{}.weight", layer_, module);
  }

  void absent_together(const char* first, std::initializer_list<const char*> others) const {
    for (const char* other : others) {
      if (checkpoint_.has(name_of(first)) != checkpoint_.has(name_of(other)))
        refuse(fmt::format("of '{}' and '{}' one is missing", name_of(first), name_of(other)));
    }
  }

  /// So many units of rows a projection has; 0 where it is not there.
  std::int64_t units(const char* projection, std::int64_t unit, std::int64_t most) const {
    const std::string name = name_of(projection);
    if (!checkpoint_.has(name)) return 0;
    const auto& shape = checkpoint_.entry(name).shape;
    if (shape.size() != 2 || shape[1] != config_.hidden_size || shape[0] % unit != 0 ||
        shape[0] / unit > most)
      refuse(fmt::format("'{}' is of shape [{}]", name, fmt::join(shape, ", ")));
    return shape[0] / unit;
  }

  LayerShape heads_of(std::int64_t heads, std::int64_t kv_heads) const {
    const std::int64_t group = config_.heads / config_.kv_heads;
    if (heads == 0 && kv_heads == 0) return {};
    // Whole groups of KV heads are left; without groups that is every head with its own. With several KV
    // heads gone and several left other groups may have as many heads together.
    const bool certain = group == 1 || kv_heads == config_.kv_heads || kv_heads == 1;
    if (certain && heads == kv_heads * group && kv_heads > 0) return even_layer_shape(heads, kv_heads, 0);
    if (kv_heads == config_.kv_heads) return by_removed_heads(heads);
    refuse(fmt::format(
        "{} query heads and {} KV heads of {} and {} are left, and it is not certain which belong "
        "together",
        heads, kv_heads, config_.heads, config_.kv_heads));
  }

  /// All KV heads are there: which query heads are gone has to be said.
  LayerShape by_removed_heads(std::int64_t heads) const {
    constexpr const char* key = "pruned_heads";
    const std::string layer = std::to_string(layer_);
    const bool said = !json_absent(config_.source, key) && config_.source[key].is_object() &&
                      config_.source[key].contains(layer) && config_.source[key][layer].is_array();
    if (!said) {
      refuse(fmt::format(
          "{} of {} query heads are left and all KV heads, and config.json does not say which (looked "
          "for its key '{}')",
          heads, config_.heads, key));
    }
    std::set<std::int64_t> gone;
    for (const Json& head : config_.source[key][layer])
      if (head.is_number_integer() && head >= 0 && head < config_.heads)
        gone.insert(head.get<std::int64_t>());
    LayerShape shape;
    shape.kv_heads = config_.kv_heads;
    std::set<std::int32_t> used;
    for (std::int64_t head = 0; head < config_.heads; ++head) {
      if (gone.contains(head)) continue;
      shape.kv_of_head.push_back(static_cast<std::int32_t>(head / (config_.heads / config_.kv_heads)));
      used.insert(shape.kv_of_head.back());
    }
    if (shape.heads() != heads || std::ssize(used) != shape.kv_heads)
      refuse(
          fmt::format("'{}' of config.json leaves {} query heads, and {} are there, or a KV head without any",
                      key, shape.heads(), heads));
    return shape;
  }

  const HfConfig& config_;
  const Checkpoint& checkpoint_;
  std::int64_t layer_;
};

/// As our own exports describe it.
void describe_shapes(HfConfig& config) {
  Json& json = config.source;
  json["base_model_type"] = darwinlm_base_type(json);
  json["model_type"] = pruned_model_type;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json.erase("auto_map");
  json.erase("architectures");
  Json layers = Json::array();
  for (const LayerShape& shape : config.layer_shapes) {
    layers.push_back({{"kv_of_head", shape.kv_of_head},
                      {"num_key_value_heads", shape.kv_heads},
                      {"intermediate_size", shape.columns}});
  }
  json["pruned_layers"] = std::move(layers);
}

}  // namespace

bool is_darwinlm(const Json& json) {
  if (!json.is_object()) return false;
  if (!json_absent(json, "model_type") && names_darwinlm(json["model_type"])) return true;
  if (json_absent(json, "auto_map") || !json["auto_map"].is_object()) return false;
  return std::ranges::any_of(json["auto_map"], names_darwinlm);
}

std::string darwinlm_base_type(const Json& json) {
  const std::string type = json_string(json, "model_type", "config.json");
  if (find_family(type) != nullptr) return type;
  if (json_absent(json, "architectures") || !json["architectures"].is_array()) return type;
  for (const Json& name : json["architectures"]) {
    if (!name.is_string()) continue;
    const auto text = name.get<std::string>();
    if (text == "LlamaForCausalLM") return "llama";
    if (text == "Qwen2ForCausalLM") return "qwen2";
  }
  return type;
}

void fit_darwinlm_shapes(HfConfig& config, const Checkpoint& checkpoint, std::vector<std::string>& warnings) {
  std::vector<LayerShape> shapes;
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    shapes.push_back(LayerReader(config, checkpoint, layer).read());
  config.layer_shapes = std::move(shapes);
  describe_shapes(config);
  warnings.push_back(
      fmt::format("{}: taken for one of DarwinLM's pruned models, computed as {}; what is left of its layers "
                  "is told by the "
                  "weights' shapes alone, which has not been tried on a published one",
                  checkpoint.folder().string(), config.model_type));
}

}  // namespace galapagos
