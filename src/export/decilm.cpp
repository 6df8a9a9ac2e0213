#include "python_files.hpp"
#include "reshape.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t column_step = 256;

[[noreturn]] void refuse(const std::string& what) {
  throw InputError("DeciLM has no " + what, "--format decilm", "choose --format hf, gguf or dense");
}

void check_family(const HfConfig& config) {
  const ModelFeatures& has = config.features;
  if (has.qk_norm) refuse("norms on heads");
  if (has.o_bias || has.mlp_bias) refuse("biases but on q, k and v");
  if (has.post_norms || has.shifted_norms || has.gelu || has.scaled_embedding || config.attention_cap != 0 ||
      config.logit_cap != 0 || config.attention_scale != 0)
    refuse("layers as this family has them (" + config.model_type + ")");
  if (config.rope.rotated_share != 1) refuse("heads that turn in part");
  if (config.rope.kind == RopeKind::longrope) refuse("rope scaling 'longrope' as the model has it");
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const AttentionKind kind = config.attention_kind(layer);
    if (kind.rope != LayerRope::usual) refuse("layers that turn heads in different ways");
    if (kind.window > 0 && kind.window < config.longest_sequence()) refuse("sliding windows");
  }
}

/// The largest groups into which the query heads of all the model's layers go, so that the KV cache is
/// smallest.
LayerFit fit_layer(const LayerShape& layer, std::int64_t heads) {
  for (std::int64_t size = heads; size > 0; --size) {
    if (heads % size != 0 || groups_of(layer, size) > heads / size) continue;
    LayerFit fit = in_groups(layer, size);
    fill_groups(fit, size, heads / size);
    return fit;
  }
  throw InputError("a layer has more heads than the unpruned model", "config.json", "choose another format");
}

std::vector<LayerFit> decilm_fits(const HfConfig& config) {
  check_family(config);
  std::vector<LayerFit> fits;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerShape& shape = config.shape(layer);
    LayerFit fit;
    // Engines norm the first layer's input in its attention.
    if (shape.heads() > 0 || layer == 0) fit = fit_layer(shape, config.heads);
    fit.columns = (shape.columns + column_step - 1) / column_step * column_step;
    fits.push_back(std::move(fit));
  }
  return fits;
}

/// Such that int(2 * ffn_mult * hidden / 3), rounded up to a multiple of 256, is the number of columns.
double multiplier_of(std::int64_t columns, std::int64_t hidden) {
  return 3 * static_cast<double>(columns - column_step / 2) / (2 * static_cast<double>(hidden));
}

/// rope_scaling as engines read it; null where there is none.
Json scaling_of(const RopeSettings& rope) {
  Json json = {{"rope_type", name_of(rope.kind)}, {"factor", rope.factor}};
  switch (rope.kind) {
    case RopeKind::llama3:
      json["low_freq_factor"] = rope.low_freq_factor;
      json["high_freq_factor"] = rope.high_freq_factor;
      json["original_max_position_embeddings"] = rope.original_positions;
      return json;
    case RopeKind::yarn:
      json["attention_factor"] = rope.attention_factor;
      json["beta_fast"] = rope.beta_fast;
      json["beta_slow"] = rope.beta_slow;
      json["truncate"] = rope.truncate;
      json["original_max_position_embeddings"] = rope.original_positions;
      return json;
    case RopeKind::linear:
      return json;
    default:
      return nullptr;  // dynamic: within the model's length nothing is scaled
  }
}

Json decilm_config(const HfConfig& config, std::span<const LayerFit> fits) {
  Json json = config.source;
  for (const char* key :
       {"base_model_type", "pruned_layers", "layer_windows", "layer_ropes", "layer_types", "sliding_window",
        "use_sliding_window", "max_window_layers", "rope_parameters", "partial_rotary_factor",
        "original_max_position_embeddings", "llama_4_scaling_beta"})
    json.erase(key);
  json["rope_theta"] = config.rope.theta;
  json["rope_scaling"] = scaling_of(config.rope);
  json["max_position_embeddings"] = config.longest_sequence();
  json["model_type"] = "nemotron-nas";
  json["architectures"] = {"DeciLMForCausalLM"};
  json["auto_map"] = {{"AutoConfig", "configuration_decilm.DeciLMConfig"}};
  json["num_key_value_heads"] = nullptr;
  json["intermediate_size"] = nullptr;
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
  json["qkv_bias"] = config.features.qkv_bias;
  json["hidden_act"] = "silu";
  Json blocks = Json::array();
  for (const LayerFit& fit : fits) {
    Json attention = {
        {"n_heads_in_group", nullptr}, {"no_op", fit.heads.empty()}, {"replace_with_linear", false}};
    if (!fit.heads.empty()) attention["n_heads_in_group"] = fit.head_count() / fit.kv_count();
    Json ffn = {{"ffn_mult", nullptr}, {"no_op", fit.columns == 0}, {"replace_with_linear", false}};
    if (fit.columns > 0) ffn["ffn_mult"] = multiplier_of(fit.columns, config.hidden_size);
    blocks.push_back({{"attention", std::move(attention)}, {"ffn", std::move(ffn)}});
  }
  json["block_configs"] = std::move(blocks);
  return json;
}

}  // namespace

Reshape decilm() {
  return {decilm_fits, decilm_config, false, {{"configuration_decilm.py", python::decilm}}};
}

}  // namespace galapagos
