#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// How Llama 3.1 and later stretch the rotary embedding's wavelengths.
struct Llama3RopeScaling {
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 0;

  bool operator==(const Llama3RopeScaling&) const = default;
};

/// What a Hugging Face config.json says about a model, checked, with transformers' defaults filled in.
struct HfConfig {
  std::string model_type;  ///< "llama" (also for Mistral without a sliding window) or "qwen2"
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  std::optional<Llama3RopeScaling> rope_scaling;
  bool qkv_bias = false;
  bool tie_word_embeddings = false;
  std::string torch_dtype;  ///< as written there ("bfloat16"), empty where it says nothing
  std::optional<std::int64_t> bos_id;
  std::optional<std::int64_t> eos_id;  ///< the first where there are several
  Json source;                         ///< the parsed file

  bool operator==(const HfConfig&) const = default;
};

/// Reads config.json of a model's folder. InputError where it is missing, malformed, or describes a model
/// that Galapagos would compute wrongly; the message names the setting.
HfConfig read_hf_config(const std::filesystem::path& folder);

/// The same from a parsed config.json; `where` names its source in messages.
HfConfig parse_hf_config(const Json& json, const std::string& where);

}  // namespace galapagos
