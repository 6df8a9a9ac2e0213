#include "families.hpp"
#include "fit_to_weights.hpp"
#include "pruned_layers.hpp"
#include "rope_reader.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_config_bytes = 4 << 20;
constexpr std::int64_t max_positions = INT32_MAX;
constexpr std::int64_t max_width = 1 << 24;
constexpr std::int64_t max_heads = 1 << 16;

/// The reading of one config.json.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string where, std::vector<std::string>& warnings)
      : json_(json), where_(std::move(where)), warnings_(warnings) {}

  HfConfig read();

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(what, where_, "choose a plain model of one of the families " + list_families());
  }
  [[noreturn]] void inconsistent(const std::string& what) const {
    throw InputError(what, where_, "copy or download the file again");
  }

  bool absent(const std::string& key) const { return json_absent(json_, key); }
  std::int64_t size(const std::string& key, std::int64_t high) const {
    return json_integer(json_, key, 1, high, where_);
  }
  bool flag(const std::string& key) const { return !absent(key) && json_bool(json_, key, where_); }
  double positive(const std::string& key) const;

  const Family& family() const;
  void check_supported() const;
  std::int64_t window(const Family& family) const;
  void read_sizes(const Family& family, HfConfig& config) const;
  void read_layers(HfConfig& config) const;
  ModelFeatures features(const Family& family) const;
  std::optional<std::int64_t> token_id(const std::string& key, std::optional<std::int64_t> otherwise,
                                       std::int64_t vocab_size) const;

  const Json& json_;
  std::string where_;
  std::vector<std::string>& warnings_;
};

double ConfigReader::positive(const std::string& key) const {
  const double value = json_number(json_, key, where_);
  if (!(value > 0)) inconsistent(fmt::format("key '{}' is {} but should be positive", key, value));
  return value;
}

const Family& ConfigReader::family() const {
  std::string type = json_string(json_, "model_type", where_);
  if (type == pruned_model_type) type = json_string(json_, "base_model_type", where_);
  const Family* family = find_family(type);
  if (family == nullptr) refuse("model_type '" + printable(type) + "' is not supported");
  return *family;
}

void ConfigReader::check_supported() const {
  if (!absent("per_layer_config") && !json_["per_layer_config"].empty()) {
    refuse("layers of different sizes (per_layer_config) are not supported yet");
  }
  if (!absent("quantization_config")) refuse("quantized weights (quantization_config) are not supported");
  const std::string act = absent("hidden_act") ? "silu" : json_string(json_, "hidden_act", where_);
  if (act != "silu" && act != "swish") refuse("hidden_act '" + printable(act) + "' is not supported");
  if (absent("layer_types")) return;
  if (!json_["layer_types"].is_array()) inconsistent("key 'layer_types' should be a list");
  for (const Json& type : json_["layer_types"]) {
    if (type != "full_attention") {
      refuse("layer_types with " + printable(type.dump(-1, ' ', true), 60) + " is not supported");
    }
  }
}

std::int64_t ConfigReader::window(const Family& family) const {
  if (flag("use_sliding_window")) refuse("use_sliding_window true is not supported");
  if (!family.window_by_key) return 0;
  if (!json_.contains("sliding_window")) return family.window.value_or(0);
  return absent("sliding_window") ? 0 : size("sliding_window", max_positions);
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

/// The shapes of a pruned model's layers, or the same shape for all.
void ConfigReader::read_layers(HfConfig& config) const {
  if (json_string(json_, "model_type", where_) == pruned_model_type) {
    config.layer_shapes = read_pruned_layers(json_, config, where_);
  } else {
    config.layer_shapes.assign(static_cast<std::size_t>(config.layers),
                               even_layer_shape(config.heads, config.kv_heads, config.intermediate_size));
  }
}

ModelFeatures ConfigReader::features(const Family& family) const {
  ModelFeatures features = family.features;
  if (family.attention_bias && flag("attention_bias")) features.qkv_bias = features.o_bias = true;
  if (family.mlp_bias && flag("mlp_bias")) features.mlp_bias = true;
  return features;
}

/// An id that the vocabulary does not have names no token: nothing is put in front or looked for.
std::optional<std::int64_t> ConfigReader::token_id(const std::string& key,
                                                   std::optional<std::int64_t> otherwise,
                                                   std::int64_t vocab_size) const {
  if (!json_.contains(key)) return otherwise && *otherwise < vocab_size ? otherwise : std::nullopt;
  const Json& value = json_[key];
  if (value.is_null() || (value.is_array() && value.empty())) return std::nullopt;
  std::optional<std::int64_t> first, outside;
  for (const Json& one : value.is_array() ? value : Json::array({value})) {
    const std::int64_t id = json_integer(Json::object({{key, one}}), key, INT64_MIN, INT64_MAX, where_);
    std::optional<std::int64_t>& found = id >= 0 && id < vocab_size ? first : outside;
    if (!found) found = id;
  }
  if (outside) {
    warnings_.push_back(
        fmt::format("{}: {} {} is outside the vocabulary of {}: ignored", where_, key, *outside, vocab_size));
  }
  return first;
}

HfConfig ConfigReader::read() {
  const Family& kind = family();
  check_supported();
  HfConfig config;
  config.model_type = kind.computed_as;
  read_sizes(kind, config);
  read_layers(config);
  config.window = window(kind);
  config.rope = read_rope(json_, kind, config, where_, warnings_);
  config.rms_norm_eps = absent("rms_norm_eps") ? kind.rms_norm_eps : positive("rms_norm_eps");
  if (config.rms_norm_eps > 1) inconsistent("rms_norm_eps is above 1");
  config.features = features(kind);
  config.tie_word_embeddings = flag("tie_word_embeddings");
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!absent(key)) config.torch_dtype = json_string(json_, key, where_);
  }
  if (config.torch_dtype.starts_with("torch.")) config.torch_dtype.erase(0, 6);
  config.bos_id = token_id("bos_token_id", kind.bos_id, config.vocab_size);
  config.eos_id = token_id("eos_token_id", kind.eos_id, config.vocab_size);
  config.source = json_;
  // Its code does not go along with what is exported, and transformers has its own.
  if (!config.pruned()) config.source.erase("auto_map");
  config.fused = kind.fused && !config.pruned();
  return config;
}

HfConfig read_config(const fs::path& folder, std::vector<std::string>& warnings) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw InputError("no such folder", folder.string(), "give the folder of a Hugging Face model");
  }
  const fs::path path = folder / "config.json";
  if (!fs::exists(path, ignored)) {
    throw InputError("no config.json there", folder.string(), "give the folder of a Hugging Face model");
  }
  return parse_hf_config(parse_json_leniently(read_file(path, max_config_bytes), path.string()),
                         path.string(), &warnings);
}

}  // namespace

HfConfig read_config_alone(const fs::path& folder) {
  std::vector<std::string> ignored;
  return read_config(folder, ignored);
}

HfConfig read_hf_config(const fs::path& folder) {
  std::vector<std::string> warnings;
  HfConfig config = read_config(folder, warnings);
  fit_to_weights(config, folder, warnings);
  for (const std::string& warning : warnings) log_warning_once(warning);
  return config;
}

HfConfig parse_hf_config(const Json& json, const std::string& where, std::vector<std::string>* warnings) {
  if (!json.is_object()) {
    throw InputError("is not a JSON object", where, "give the folder of a Hugging Face model");
  }
  std::vector<std::string> ignored;
  return ConfigReader(json, where, warnings != nullptr ? *warnings : ignored).read();
}

}  // namespace galapagos
