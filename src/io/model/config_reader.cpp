#include "attention_kinds.hpp"
#include "darwinlm_model.hpp"
#include "families.hpp"
#include "fit_to_weights.hpp"
#include "mixture_reader.hpp"
#include "pruned_layers.hpp"
#include "rope_reader.hpp"
#include "text_config.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/hub_names.hpp>
#include <galapagos/io/model_shape.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_config_bytes = 4 << 20;
constexpr std::int64_t max_width = 1 << 24;
constexpr std::int64_t max_heads = 1 << 16;
/// Heads, and experts, of all layers together: dozens of times what the largest models have, and what can
/// be listed one by one in some hundred megabytes.
constexpr std::int64_t max_in_layers = 1 << 20;

/// The reading of one config.json.
class ConfigReader {
 public:
  ConfigReader(Json json, std::string where, std::vector<std::string>& warnings)
      : json_(std::move(json)), where_(std::move(where)), warnings_(warnings) {}

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
  void check_supported(const Family& family) const;
  void check_activation(const Family& family) const;
  void read_scores(const Family& family, HfConfig& config) const;
  void read_sizes(const Family& family, HfConfig& config) const;
  void check_total(std::int64_t layers, std::int64_t each, const std::string& of_what) const;
  void read_layers(const Family& family, HfConfig& config) const;
  ModelFeatures features(const Family& family) const;
  std::optional<std::int64_t> token_id(const std::string& key, std::optional<std::int64_t> otherwise,
                                       std::int64_t vocab_size) const;

  Json json_;
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
  if (is_darwinlm(json_)) type = darwinlm_base_type(json_);
  const Family* family = find_family(type);
  if (family == nullptr) refuse("model_type '" + printable(type) + "' is not supported");
  if (!family->refused.empty())
    refuse(fmt::format("model_type '{}' is not supported: {}", type, family->refused));
  return *family;
}

void ConfigReader::check_supported(const Family& family) const {
  if (!absent("per_layer_config") && !json_["per_layer_config"].empty()) {
    refuse("layers of different sizes (per_layer_config) are not supported yet");
  }
  if (!absent("quantization_config")) refuse("quantized weights (quantization_config) are not supported");
  if (flag("use_bidirectional_attention")) refuse("use_bidirectional_attention true is not supported");
  check_activation(family);
}

void ConfigReader::check_activation(const Family& family) const {
  const char* key = family.features.gelu && !absent("hidden_activation") ? "hidden_activation" : "hidden_act";
  if (absent(key)) return;
  const std::string act = json_string(json_, key, where_);
  // Gemma's first release wrote "gelu" and meant its approximation, as transformers knows.
  const bool taken =
      family.features.gelu ? act == "gelu_pytorch_tanh" || act == "gelu" : act == "silu" || act == "swish";
  if (!taken) refuse(fmt::format("{} '{}' is not supported", key, printable(act)));
}

/// How scores and logits are scaled and capped.
void ConfigReader::read_scores(const Family& family, HfConfig& config) const {
  const auto number = [&](const char* key, double otherwise) {
    if (!json_.contains(key)) return otherwise;
    return absent(key) ? 0 : positive(key);
  };
  if (family.score_scalar)
    config.attention_scale = 1 / std::sqrt(number("query_pre_attn_scalar", *family.score_scalar));
  if (family.attention_cap) {
    config.attention_cap = number("attn_logit_softcapping", *family.attention_cap);
  } else if (family.score_scalar && !absent("attn_logit_softcapping")) {
    refuse("attn_logit_softcapping, which transformers does not compute here, is not supported");
  }
  if (family.logit_cap) config.logit_cap = number("final_logit_softcapping", *family.logit_cap);
  if (!std::isfinite(config.attention_scale)) inconsistent("query_pre_attn_scalar is null");
  if (!family.scaled_queries) return;
  if (absent("rope_parameters") || !json_["rope_parameters"].is_object())
    inconsistent("no object 'rope_parameters'");
  if (!json_absent(json_["rope_parameters"], "llama_4_scaling_beta"))
    config.unscaled_queries = config.rope.original_positions;
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
  if (config.heads * config.head_dim > max_width)
    inconsistent(fmt::format("{} heads of {} elements each, together more than {}", config.heads,
                             config.head_dim, max_width));
}

/// Before anything of that size is made.
void ConfigReader::check_total(std::int64_t layers, std::int64_t each, const std::string& of_what) const {
  if (layers * each <= max_in_layers) return;
  inconsistent(fmt::format("{} layers with {} {} each, of which this program takes {} in all layers together",
                           layers, each, of_what, max_in_layers));
}

/// The shapes of a pruned model's layers, or the same shape for all.
void ConfigReader::read_layers(const Family& family, HfConfig& config) const {
  if (json_string(json_, "model_type", where_) == pruned_model_type) {
    config.layer_shapes = read_pruned_layers(json_, config, where_);
    return;
  }
  check_total(config.layers, config.heads, "heads");
  const std::vector<bool> mixtures = mixture_layers(json_, family, config.layers, where_);
  if (config.mixture) check_total(std::ranges::count(mixtures, true), config.mixture->experts, "experts");
  for (const bool mixture : mixtures) {
    config.layer_shapes.push_back(
        mixture ? even_mixture_shape(config.heads, config.kv_heads, config.mixture->experts,
                                     config.mixture->expert_size)
                : even_layer_shape(config.heads, config.kv_heads, config.intermediate_size));
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
  check_supported(kind);
  HfConfig config;
  config.model_type = kind.computed_as;
  read_sizes(kind, config);
  config.mixture = read_mixture(json_, kind, where_);
  read_layers(kind, config);
  LayerRopes ropes = read_layer_ropes(json_, kind, config, where_, warnings_);
  config.rope = std::move(ropes.usual);
  config.local_rope = std::move(ropes.local);
  config.attention_kinds = read_attention_kinds(json_, kind, config.layers, where_);
  read_scores(kind, config);
  config.rms_norm_eps = absent("rms_norm_eps") ? kind.rms_norm_eps : positive("rms_norm_eps");
  if (config.rms_norm_eps > 1) inconsistent("rms_norm_eps is above 1");
  config.features = features(kind);
  config.tie_word_embeddings = absent("tie_word_embeddings") ? kind.tied : flag("tie_word_embeddings");
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!absent(key)) config.torch_dtype = json_string(json_, key, where_);
  }
  if (config.torch_dtype.starts_with("torch.")) config.torch_dtype.erase(0, 6);
  config.bos_id = token_id("bos_token_id", kind.bos_id, config.vocab_size);
  config.eos_id = token_id("eos_token_id", kind.eos_id, config.vocab_size);
  config.source = json_;
  config.fused = kind.fused && !config.pruned();
  config.mixtral_names = kind.mixture && kind.mixture->mixtral_names && !config.pruned();
  return config;
}

HfConfig read_file_of_config(const fs::path& path, std::vector<std::string>& warnings) {
  return parse_hf_config(parse_json_leniently(read_file(path, max_config_bytes), path.string()),
                         path.string(), &warnings);
}

HfConfig read_config(const fs::path& folder, std::vector<std::string>& warnings) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw InputError("no such folder", folder.string(), remedy_for_missing_model(folder.string()));
  }
  const fs::path path = folder / "config.json";
  if (!fs::exists(path, ignored)) {
    throw InputError("no config.json there", folder.string(), "give the folder of a Hugging Face model");
  }
  return read_file_of_config(path, warnings);
}

HfConfig warned(HfConfig config, const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) log_warning_once(warning);
  return config;
}

}  // namespace

HfConfig read_shape(const fs::path& path) {
  if (!fs::is_regular_file(path)) return read_hf_config(path);
  std::vector<std::string> warnings;
  HfConfig config = read_file_of_config(path, warnings);
  warn_of_unseen_shapes(config, path.string(), warnings);
  return warned(std::move(config), warnings);
}

HfConfig read_config_alone(const fs::path& folder) {
  std::vector<std::string> ignored;
  return read_config(folder, ignored);
}

HfConfig read_hf_config(const fs::path& folder) {
  std::vector<std::string> warnings;
  HfConfig config = read_config(folder, warnings);
  fit_to_weights(config, folder, warnings);
  return warned(std::move(config), warnings);
}

HfConfig parse_hf_config(const Json& json, const std::string& where, std::vector<std::string>* warnings) {
  if (!json.is_object()) {
    throw InputError("is not a JSON object", where, "give the folder of a Hugging Face model");
  }
  std::vector<std::string> ignored;
  return ConfigReader(text_config_of(json, where), where, warnings != nullptr ? *warnings : ignored).read();
}

}  // namespace galapagos
