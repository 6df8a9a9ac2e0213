#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// What transformers makes of a family's rope settings.
struct RopeRules {
  bool partial = false;        ///< partial_rotary_factor has a meaning
  bool only_longrope = false;  ///< of the kinds with a scaling; "su" and "yarn" are old names for it
  std::optional<std::int64_t> original_positions = {};  ///< where config.json says nothing; comes first
};

/// A family of models, and what transformers assumes of it where config.json says nothing.
struct Family {
  std::string_view model_type;
  std::string_view computed_as;
  std::int64_t max_position_embeddings = 0;
  std::optional<std::int64_t> kv_heads = {};  ///< as many as heads where nothing
  std::optional<std::int64_t> bos_id = {};
  std::optional<std::int64_t> eos_id = {};
  ModelFeatures features = {};
  bool fused = false;
  std::optional<std::int64_t> head_dim = {};  ///< hidden_size / heads where nothing
  double rms_norm_eps = 1e-6;
  bool attention_bias = false;  ///< the key adds biases to q, k, v and o; elsewhere it means nothing
  bool mlp_bias = false;        ///< likewise to gate, up and down
  bool window_by_key = false;   ///< sliding_window counts by itself; elsewhere use_sliding_window decides
  std::optional<std::int64_t> window = {};  ///< where the key is missing
  RopeRules rope = {};
};

/// The family of that model_type, or nullptr.
const Family* find_family(std::string_view model_type);

/// "llama, mistral, ...": all of them.
std::string list_families();

}  // namespace galapagos
