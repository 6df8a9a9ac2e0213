#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <string_view>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/hub_names.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_config_bytes = 4 << 20;
constexpr std::int64_t max_positions = INT32_MAX;
constexpr std::int64_t max_width = 1 << 24;
constexpr std::int64_t max_heads = 1 << 16;

/// What transformers assumes per family where config.json says nothing.
struct Family {
  std::string_view model_type;
  std::string_view computed_as;
  std::int64_t max_position_embeddings;
  std::optional<std::int64_t> kv_heads;  ///< as many as heads where nothing
  std::optional<std::int64_t> bos_id;
  std::optional<std::int64_t> eos_id;
  ModelFeatures features;
  bool biases_on_demand = true;               ///< attention_bias would add some, which is not supported
  bool window_unless_null = false;            ///< a missing sliding_window means one
  std::optional<std::int64_t> head_dim = {};  ///< hidden_size / heads where nothing
};

constexpr std::array families = std::to_array<Family>({
    {"llama", "llama", 2048, std::nullopt, 1, 2, {}},
    {"mistral", "llama", 131072, 8, 1, 2, {}, true, true},
    {"qwen2", "qwen2", 32768, 32, std::nullopt, std::nullopt, {.qkv_bias = true}, false},
    {"qwen3", "qwen3", 32768, 32, std::nullopt, std::nullopt, {.qk_norm = true}, true, false, 128},
});

/// The reading of one config.json.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

  HfConfig read();

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(what, where_, "choose a plain Llama, Mistral, Qwen2 or Qwen3 model");
  }
  [[noreturn]] void inconsistent(const std::string& what) const {
    throw InputError(what, where_, "copy or download the file again");
  }

  bool absent(const std::string& key) const { return json_absent(json_, key); }
  std::int64_t size(const std::string& key, std::int64_t high) const {
    return json_integer(json_, key, 1, high, where_);
  }
  bool flag(const std::string& key) const { return !absent(key) && json_bool(json_, key, where_); }
  double positive(const Json& object, const std::string& key) const;

  const Family& family() const;
  void read_layers(HfConfig& config) const;
  LayerShape pruned_layer(const Json& json, std::int64_t layer, const HfConfig& config) const;
  void check_supported(const Family& family) const;
  void check_windows(const Family& family) const;
  void read_sizes(const Family& family, HfConfig& config) const;
  void read_rope(HfConfig& config) const;
  std::optional<Llama3RopeScaling> rope_scaling(const Json& rope) const;
  std::optional<std::int64_t> token_id(const std::string& key, std::optional<std::int64_t> otherwise,
                                       std::int64_t vocab_size) const;

  const Json& json_;
  std::string where_;
};

double ConfigReader::positive(const Json& object, const std::string& key) const {
  const double value = json_number(object, key, where_);
  if (!(value > 0)) inconsistent(fmt::format("key '{}' is {} but should be positive", key, value));
  return value;
}

const Family& ConfigReader::family() const {
  std::string type = json_string(json_, "model_type", where_);
  if (type == pruned_model_type) type = json_string(json_, "base_model_type", where_);
  for (const Family& family : families) {
    if (family.model_type == type) return family;
  }
  refuse("model_type '" + printable(type) + "' is not supported");
}

void ConfigReader::check_supported(const Family& family) const {
  if (!absent("per_layer_config") && !json_["per_layer_config"].empty()) {
    refuse("layers of different sizes (per_layer_config) are not supported yet");
  }
  if (!absent("quantization_config")) refuse("quantized weights (quantization_config) are not supported");
  if (!absent("hidden_act") && json_string(json_, "hidden_act", where_) != "silu") {
    refuse("hidden_act '" + printable(json_string(json_, "hidden_act", where_)) + "' is not supported");
  }
  if (family.biases_on_demand && flag("attention_bias")) refuse("attention_bias true is not supported");
  if (flag("mlp_bias")) refuse("mlp_bias true is not supported");
  check_windows(family);
}

void ConfigReader::check_windows(const Family& family) const {
  if (family.window_unless_null && !(json_.contains("sliding_window") && absent("sliding_window"))) {
    refuse(json_.contains("sliding_window")
               ? "a sliding window (sliding_window) is not supported"
               : "no sliding_window, which means a window of 4096 (not supported) "
                 "rather than none (null)");
  }
  if (flag("use_sliding_window")) refuse("use_sliding_window true is not supported");
  if (absent("layer_types")) return;
  if (!json_["layer_types"].is_array()) inconsistent("key 'layer_types' should be a list");
  for (const Json& type : json_["layer_types"]) {
    if (type != "full_attention") {
      refuse("layer_types with " + printable(type.dump(-1, ' ', true), 60) + " is not supported");
    }
  }
}

void ConfigReader::read_sizes(const Family& family, HfConfig& config) const {
  config.hidden_size = size("hidden_size", max_width);
  config.intermediate_size = size("intermediate_size", max_width);
  config.layers = size("num_hidden_layers", max_heads);
  config.heads = size("num_attention_heads", max_heads);
  config.vocab_size = size("vocab_size", max_width);
  config.max_position_embeddings = absent("max_position_embeddings")
                                       ? family.max_position_embeddings
                                       : size("max_position_embeddings", max_positions);
  if (!absent("num_key_value_heads")) {
    config.kv_heads = size("num_key_value_heads", max_heads);
  } else {
    // An explicit null means "as many as heads" for every family; only a missing key takes its default.
    const bool null = json_.contains("num_key_value_heads");
    config.kv_heads = null ? config.heads : family.kv_heads.value_or(config.heads);
  }
  if (config.heads % config.kv_heads != 0) {
    inconsistent(fmt::format("num_attention_heads {} is no multiple of num_key_value_heads {}", config.heads,
                             config.kv_heads));
  }
  if (!absent("head_dim")) {
    config.head_dim = size("head_dim", max_heads);
  } else if (family.head_dim && !json_.contains("head_dim")) {
    config.head_dim = *family.head_dim;
  } else if (config.hidden_size % config.heads == 0) {
    config.head_dim = config.hidden_size / config.heads;
  } else {
    inconsistent(fmt::format("no head_dim, and hidden_size {} is no multiple of {} heads", config.hidden_size,
                             config.heads));
  }
  if (config.head_dim % 2 != 0) inconsistent(fmt::format("head_dim {} is odd", config.head_dim));
}

LayerShape ConfigReader::pruned_layer(const Json& json, std::int64_t layer, const HfConfig& config) const {
  const std::string where = fmt::format("{}, pruned_layers {}", where_, layer);
  if (!json.is_object()) throw InputError("is not an object", where, "export the model again");
  LayerShape shape;
  shape.columns = json_integer(json, "intermediate_size", 0, config.intermediate_size, where);
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

/// The shapes of a pruned model's layers, or the same shape for all.
void ConfigReader::read_layers(HfConfig& config) const {
  if (json_string(json_, "model_type", where_) != pruned_model_type) {
    config.layer_shapes.assign(static_cast<std::size_t>(config.layers),
                               even_layer_shape(config.heads, config.kv_heads, config.intermediate_size));
    return;
  }
  if (absent("pruned_layers") || !json_["pruned_layers"].is_array() ||
      json_["pruned_layers"].size() != static_cast<std::size_t>(config.layers)) {
    inconsistent(fmt::format("pruned_layers should be a list of {} layers", config.layers));
  }
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    config.layer_shapes.push_back(
        pruned_layer(json_["pruned_layers"][static_cast<std::size_t>(layer)], layer, config));
  }
}

std::optional<Llama3RopeScaling> ConfigReader::rope_scaling(const Json& rope) const {
  if (!rope.is_object()) inconsistent("the rope settings should be an object or null");
  for (const auto& [key, value] : rope.items()) {
    if (value.is_object()) refuse("rope settings by layer type ('" + printable(key) + "') are not supported");
  }
  const char* key = json_absent(rope, "rope_type") ? "type" : "rope_type";
  const std::string type = json_absent(rope, key) ? "default" : json_string(rope, key, where_);
  if (type == "default") return std::nullopt;
  if (type != "llama3") refuse("rope scaling of type '" + printable(type) + "' is not supported");

  Llama3RopeScaling scaling;
  scaling.factor = positive(rope, "factor");
  scaling.low_freq_factor = positive(rope, "low_freq_factor");
  scaling.high_freq_factor = positive(rope, "high_freq_factor");
  scaling.original_max_position_embeddings =
      json_integer(rope, "original_max_position_embeddings", 1, max_positions, where_);
  if (scaling.factor < 1) inconsistent(fmt::format("rope scaling factor {} is below 1", scaling.factor));
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    inconsistent("rope scaling with high_freq_factor not above low_freq_factor");
  }
  return scaling;
}

/// transformers 4 writes rope_theta and rope_scaling, transformers 5 both in rope_parameters.
void ConfigReader::read_rope(HfConfig& config) const {
  const bool has_old = !absent("rope_scaling");
  const bool has_new = !absent("rope_parameters");
  if (has_old) config.rope_scaling = rope_scaling(json_["rope_scaling"]);
  if (has_new) {
    const auto scaling = rope_scaling(json_["rope_parameters"]);
    if (has_old && scaling != config.rope_scaling) {
      inconsistent("rope_scaling and rope_parameters contradict each other");
    }
    config.rope_scaling = scaling;
  }
  const Json none = Json::object();
  const Json& parameters = has_new ? json_["rope_parameters"] : none;
  const Json& holder = json_absent(parameters, "rope_theta") ? json_ : parameters;
  config.rope_theta = json_absent(holder, "rope_theta") ? 10000.0 : positive(holder, "rope_theta");
  for (const Json* object : {&json_, &parameters}) {
    if (!json_absent(*object, "partial_rotary_factor") &&
        json_number(*object, "partial_rotary_factor", where_) != 1.0) {
      refuse("partial_rotary_factor other than 1 is not supported");
    }
  }
}

std::optional<std::int64_t> ConfigReader::token_id(const std::string& key,
                                                   std::optional<std::int64_t> otherwise,
                                                   std::int64_t vocab_size) const {
  if (!json_.contains(key)) return otherwise && *otherwise < vocab_size ? otherwise : std::nullopt;
  const Json& value = json_[key];
  if (value.is_null() || (value.is_array() && value.empty())) return std::nullopt;
  const Json first = Json::object({{key, value.is_array() ? value[0] : value}});
  return json_integer(first, key, 0, vocab_size - 1, where_);
}

HfConfig ConfigReader::read() {
  const Family& kind = family();
  check_supported(kind);
  HfConfig config;
  config.model_type = kind.computed_as;
  read_sizes(kind, config);
  read_layers(config);
  read_rope(config);
  config.rms_norm_eps = absent("rms_norm_eps") ? 1e-6 : positive(json_, "rms_norm_eps");
  if (config.rms_norm_eps > 1) inconsistent("rms_norm_eps is above 1");
  config.features = kind.features;
  config.tie_word_embeddings = flag("tie_word_embeddings");
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!absent(key)) config.torch_dtype = json_string(json_, key, where_);
  }
  config.bos_id = token_id("bos_token_id", kind.bos_id, config.vocab_size);
  config.eos_id = token_id("eos_token_id", kind.eos_id, config.vocab_size);
  config.source = json_;
  return config;
}

}  // namespace

LayerShape even_layer_shape(std::int64_t heads, std::int64_t kv_heads, std::int64_t columns) {
  LayerShape shape;
  shape.kv_heads = kv_heads;
  shape.columns = columns;
  for (std::int64_t head = 0; head < heads; ++head) {
    shape.kv_of_head.push_back(static_cast<std::int32_t>(head / (heads / kv_heads)));
  }
  return shape;
}

bool HfConfig::even() const {
  return std::adjacent_find(layer_shapes.begin(), layer_shapes.end(), std::not_equal_to<>()) ==
         layer_shapes.end();
}

bool HfConfig::pruned() const {
  return source.is_object() && source.contains("model_type") && source["model_type"] == pruned_model_type;
}

HfConfig read_hf_config(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw InputError("no such folder", folder.string(), remedy_for_missing_model(folder.string()));
  }
  const fs::path path = folder / "config.json";
  if (!fs::exists(path, ignored)) {
    throw InputError("no config.json there", folder.string(), "give the folder of a Hugging Face model");
  }
  return parse_hf_config(parse_json(read_file(path, max_config_bytes), path.string()), path.string());
}

HfConfig parse_hf_config(const Json& json, const std::string& where) {
  if (!json.is_object()) {
    throw InputError("is not a JSON object", where, "give the folder of a Hugging Face model");
  }
  return ConfigReader(json, where).read();
}

}  // namespace galapagos
