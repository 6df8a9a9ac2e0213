#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// The most positions that a config.json may speak of: they are held in 32 bits.
inline constexpr std::int64_t max_positions = INT32_MAX;

/// What transformers makes of a family's rope settings.
struct RopeRules {
  bool partial = false;        ///< partial_rotary_factor has a meaning
  bool only_longrope = false;  ///< of the kinds with a scaling; "su" and "yarn" are old names for it
  std::optional<std::int64_t> original_positions = {};  ///< where config.json says nothing; comes first
  double theta = 10000;                                 ///< where config.json says nothing
};

/// What a family of mixtures of experts calls its settings, and what it assumes where config.json says
/// nothing.
struct MixtureKeys {
  std::string_view expert_size;  ///< the key
  std::int64_t experts = 0, size = 0, experts_per_token = 0;
  bool always_renormalised = false;  ///< norm_topk_prob means nothing
  bool some_layers = false;  ///< mlp_only_layers and decoder_sparse_step say which layers are mixtures
  bool mixtral_names = false;
};

/// Which layers have a sliding window, where layer_types does not say it.
enum class WindowRule : std::uint8_t {
  never,
  everywhere,    ///< where sliding_window is not null
  if_used,       ///< everywhere with use_sliding_window
  on_demand,     ///< with use_sliding_window, from layer max_window_layers on
  without_rope,  ///< with use_sliding_window, layers without rope
  pattern,       ///< all but every n-th
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
  bool tied = false;            ///< tie_word_embeddings where the key is missing
  WindowRule windows = WindowRule::never;
  bool typed = false;                       ///< layer_types counts, if it is there
  std::optional<std::int64_t> window = {};  ///< sliding_window where the key is missing
  std::int64_t window_pattern = 0;          ///< sliding_window_pattern where the key is missing
  bool layers_without_rope = false;         ///< as no_rope_layers and no_rope_layer_interval say
  bool local_rope = false;                  ///< layers with a window have rope settings of their own
  std::optional<double> score_scalar = {};  ///< query_pre_attn_scalar, which stands for head_dim in scores
  std::optional<double> attention_cap = {},
                        logit_cap = {};  ///< where the keys are missing; 0: none, but they count
  bool scaled_queries = false;           ///< llama_4_scaling_beta counts
  RopeRules rope = {};
  std::optional<MixtureKeys> mixture = {};
  std::string_view refused = {};  ///< why it is not computed
};

/// The family of that model_type, or nullptr.
const Family* find_family(std::string_view model_type);

/// "llama, mistral, ...": all of them.
std::string list_families();

}  // namespace galapagos
