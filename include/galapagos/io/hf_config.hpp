#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/attention_kind.hpp>
#include <galapagos/io/rope_settings.hpp>

namespace galapagos {

/// What is left of a layer: its query heads, each with the KV head it attends with, and its feed-forward
/// columns, which in a mixture are those of all experts. Without heads there are no KV heads.
struct LayerShape {
  std::int64_t kv_heads = 0;
  std::vector<std::int32_t> kv_of_head;  ///< one entry per query head, ascending
  std::int64_t columns = 0;
  std::vector<std::int64_t> experts = {};  ///< columns of each expert of a mixture; empty in a dense layer

  std::int64_t heads() const { return static_cast<std::int64_t>(kv_of_head.size()); }
  bool mixture() const { return !experts.empty(); }
  bool operator==(const LayerShape&) const = default;
};

/// The layer of an unpruned model: every run of heads / kv_heads query heads shares a KV head.
LayerShape even_layer_shape(std::int64_t heads, std::int64_t kv_heads, std::int64_t columns);
/// The same of a mixture of so many experts with so many columns each.
LayerShape even_mixture_shape(std::int64_t heads, std::int64_t kv_heads, std::int64_t experts,
                              std::int64_t columns);

/// How layers that are mixtures of experts send tokens to them: the softmax of the router's logits weighs
/// the experts of which it is largest.
struct MixtureSettings {
  std::int64_t experts = 0;      ///< of a layer of the unpruned model
  std::int64_t expert_size = 0;  ///< columns of each, likewise
  std::int64_t experts_per_token = 0;
  bool renormalised = false;  ///< the weights of a token's experts are divided by their sum

  bool operator==(const MixtureSettings&) const = default;
};

/// What families of models differ in.
struct ModelFeatures {
  bool qkv_bias = false;          ///< biases on q, k and v
  bool qk_norm = false;           ///< every head of q and k is normed before the rotation
  bool post_norms = false;        ///< what o_proj and down_proj put out is normed before it is added
  bool shifted_norms = false;     ///< norms multiply by 1 + weight
  bool gelu = false;              ///< gates go through gelu (by tanh), not through silu
  bool scaled_embedding = false;  ///< rows of the embedding are multiplied by sqrt(hidden_size)
  bool o_bias = false;            ///< a bias on the attention's output
  bool mlp_bias = false;          ///< biases on gate, up and down

  bool operator==(const ModelFeatures&) const = default;
};

/// What a Hugging Face config.json says about a model, checked, with transformers' defaults filled in.
struct HfConfig {
  std::string model_type;  ///< what it is computed as: "llama" (also for Mistral), "qwen2", ...
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;  ///< of the unpruned model's dense layers; as heads and kv_heads
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::vector<LayerShape> layer_shapes;  ///< of each layer; they differ in a pruned model
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  RopeSettings rope;
  std::optional<RopeSettings> local_rope;      ///< of layers with LayerRope::local
  std::vector<AttentionKind> attention_kinds;  ///< of each layer; empty: nothing special in any
  double attention_scale = 0;                  ///< of the scores; 0: 1 / sqrt(head_dim)
  double attention_cap = 0;                    ///< scores s become cap * tanh(s / cap); 0: they stay
  double logit_cap = 0;                        ///< the same of logits
  std::int64_t unscaled_queries =
      0;  ///< first position whose query is scaled, which is not computed; 0: none
  ModelFeatures features;
  std::optional<MixtureSettings> mixture;  ///< where any layer of the unpruned model is one
  bool fused = false;          ///< its files hold q, k and v as one tensor, and gate and up as another
  bool mixtral_names = false;  ///< its files name what belongs to experts as Mixtral's
  bool tie_word_embeddings = false;
  std::string torch_dtype;  ///< as written there ("bfloat16"), empty where it says nothing
  std::optional<std::int64_t> bos_id;
  std::optional<std::int64_t> eos_id;  ///< the first where there are several
  Json source;                         ///< the parsed file

  const LayerShape& shape(std::int64_t layer) const { return layer_shapes[static_cast<std::size_t>(layer)]; }
  AttentionKind attention_kind(std::int64_t layer) const {
    return attention_kinds.empty() ? AttentionKind() : attention_kinds[static_cast<std::size_t>(layer)];
  }
  /// Tokens of the longest sequence that is computed as transformers does.
  std::int64_t longest_sequence() const {
    return unscaled_queries > 0 && unscaled_queries < max_position_embeddings ? unscaled_queries
                                                                              : max_position_embeddings;
  }
  /// Whether all layers have the same shape.
  bool even() const;
  /// Whether Galapagos has pruned it: the layers' shapes are its own, even or not.
  bool pruned() const;

  bool operator==(const HfConfig&) const = default;
};

/// The model_type of a pruned model that Galapagos has written; `pruned_layers` holds the shapes.
constexpr const char* pruned_model_type = "galapagos";

/// Reads config.json of a model's folder, and adapts it to the weights there as transformers 5 does: a stored
/// output head that differs from the embedding is not tied to it, biases that no layer has are none. Says so
/// in warnings. InputError where it is missing, malformed, or describes a model that Galapagos would compute
/// wrongly; the message names the setting.
HfConfig read_hf_config(const std::filesystem::path& folder);

/// The same of config.json alone.
HfConfig read_config_alone(const std::filesystem::path& folder);

/// The same from a parsed config.json; `where` names its source in messages. Adds warnings to `warnings`.
HfConfig parse_hf_config(const Json& json, const std::string& where,
                         std::vector<std::string>* warnings = nullptr);

/// Puts into an export's config.json what its family's keys leave open of the attention: layer_windows and
/// layer_ropes where layers differ, scales and caps.
void describe_attention(const HfConfig& config, Json& json);

}  // namespace galapagos
