#include "architecture.hpp"

#include "mixture.hpp"
#include "rope.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/model/rope.hpp>

namespace galapagos::gguf {
namespace {

constexpr Architecture deci = {
    .name = "deci", .uneven = true, .interleaved = true, .frequencies = true, .empty_parts = true};
constexpr Architecture openelm = {.name = "openelm", .uneven = true, .fused = true};
constexpr Architecture qwen3 = {.name = "qwen3"};

[[noreturn]] void refuse(const std::string& what) {
  throw InputError("llama.cpp has no architecture for pruned models with " + what, "--format gguf",
                   "choose --format hf or dense");
}

void check_rope(const HfConfig& config, const Architecture& architecture) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.attention_kind(layer).rope != LayerRope::usual)
      refuse("layers that turn heads in different ways");
  }
  if (!knows_rope(architecture, config.rope))
    refuse(fmt::format("norms on heads and rope scaling '{}'", name_of(config.rope.kind)));
}

LayerFit fit_uneven(const Architecture& architecture, const HfConfig& config, std::int64_t layer) {
  const LayerShape& shape = config.shape(layer);
  LayerFit fit = in_groups(shape, cheapest_group(std::span(&shape, 1)));
  const bool may_lack =
      architecture.empty_parts && layer > 0;  // the first one's heads say how wide heads are
  if (fit.heads.empty() && !may_lack) fill_groups(fit, 1, 1);
  if (fit.columns == 0 && !(fit.heads.empty() && layer + 1 < config.layers)) fit.columns = zero_columns;
  return fit;
}

/// All layers alike.
std::vector<LayerFit> fits_even(const HfConfig& config) {
  const std::int64_t size = cheapest_group(config.layer_shapes);
  std::int64_t groups = 1, columns = zero_columns;
  for (const LayerShape& layer : config.layer_shapes) {
    groups = std::max(groups, groups_of(layer, size));
    columns = std::max(columns, layer.columns);
  }
  std::vector<LayerFit> fits;
  for (const LayerShape& layer : config.layer_shapes) {
    fits.push_back(in_groups(layer, size));
    fill_groups(fits.back(), size, groups);
    fits.back().columns = columns;
  }
  return fits;
}

std::vector<std::int32_t> numbers(std::span<const LayerFit> fits, auto number) {
  std::vector<std::int32_t> of_layers;
  for (const LayerFit& fit : fits) of_layers.push_back(static_cast<std::int32_t>(number(fit)));
  return of_layers;
}

/// Of all layers, or one where the architecture has one for all.
void set_counts(Metadata& metadata, const Architecture& architecture, const std::string& key,
                const std::vector<std::int32_t>& counts) {
  if (architecture.uneven) {
    metadata.set(key, std::span<const std::int32_t>(counts));
  } else {
    metadata.set(key, static_cast<std::uint32_t>(counts.front()));
  }
}

/// What llama.cpp itself knows of scaling; the others come as factors.
void describe_scaling(Metadata& metadata, const std::string& prefix, const RopeSettings& rope) {
  const auto set = [&](const char* key, auto value) { metadata.set(prefix + "rope.scaling." + key, value); };
  if (rope.kind == RopeKind::linear) {
    set("type", "linear");
    set("factor", static_cast<float>(rope.factor));
  } else if (rope.kind == RopeKind::yarn) {
    set("type", "yarn");
    set("factor", static_cast<float>(rope.factor));
    set("original_context_length", static_cast<std::uint32_t>(rope.original_positions));
    // Besides what it takes itself, which is the usual.
    set("attn_factor", static_cast<float>(rope.attention_factor / (0.1 * std::log(rope.factor) + 1)));
  }
}

}  // namespace

const Architecture& architecture_of(const HfConfig& config) {
  const ModelFeatures& has = config.features;
  if (has.post_norms || has.shifted_norms || has.gelu || has.scaled_embedding || config.attention_cap != 0 ||
      config.logit_cap != 0)
    refuse("what this family has (" + config.model_type + ")");
  const Architecture& architecture = config.mixture               ? mixture_architecture(config)
                                     : !has.qk_norm               ? deci
                                     : config.tie_word_embeddings ? openelm
                                                                  : qwen3;
  if (config.attention_scale != 0) refuse("scores scaled in their own way");
  if (has.qk_norm && (has.qkv_bias || has.o_bias || has.mlp_bias)) refuse("norms on heads and biases");
  if (config.rope.attention_factor != 1 && config.rope.rotated_share != 1)
    refuse("heads that turn in part, scaled");
  check_rope(config, architecture);
  return architecture;
}

std::vector<LayerFit> fits_of(const Architecture& architecture, const HfConfig& config,
                              std::int64_t columns) {
  if (config.mixture) return mixture_fits(architecture, config, columns);
  std::vector<LayerFit> fits;
  if (architecture.uneven) {
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
      fits.push_back(fit_uneven(architecture, config, layer));
  } else {
    fits = fits_even(config);
  }
  for (LayerFit& fit : fits) fit.columns = multiple(fit.columns, columns);
  return fits;
}

std::int64_t context_of(const HfConfig& config) {
  std::int64_t tokens = config.longest_sequence();
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (const std::int64_t window = config.attention_kind(layer).window; window > 0)
      tokens = std::min(tokens, window);
  }
  return tokens;
}

void describe_architecture(Metadata& metadata, const Architecture& architecture, const HfConfig& config,
                           std::span<const LayerFit> fits) {
  const std::string prefix = std::string(architecture.name) + ".";
  const auto set = [&](const char* key, auto value) { metadata.set(prefix + key, value); };
  const auto count = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
  set("block_count", count(config.layers));
  set("context_length", count(context_of(config)));
  set("embedding_length", count(config.hidden_size));
  set("vocab_size", count(config.vocab_size));
  if (config.mixture) {
    describe_mixture(metadata, architecture, config, fits);
  } else {
    set_counts(metadata, architecture, prefix + "feed_forward_length",
               numbers(fits, [](const LayerFit& fit) { return fit.columns; }));
  }
  set_counts(metadata, architecture, prefix + "attention.head_count",
             numbers(fits, [](const LayerFit& fit) { return fit.head_count(); }));
  set_counts(metadata, architecture, prefix + "attention.head_count_kv",
             numbers(fits, [](const LayerFit& fit) { return fit.kv_count(); }));
  set("attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_norm_eps));
  set("attention.key_length", count(config.head_dim));
  set("attention.value_length", count(config.head_dim));
  set("rope.dimension_count", count(config.head_dim * (architecture.half_turned ? 2 : 1)));
  set("rope.freq_base", static_cast<float>(config.rope.theta));
  if (!architecture.frequencies) return describe_scaling(metadata, prefix, config.rope);
  if (config.rope.kind == RopeKind::longrope && config.rope.depends_on_length()) {
    set("rope.scaling.type", "longrope");
    set("rope.scaling.original_context_length", count(config.rope.original_positions));
  }
  if (config.rope.attention_factor != 1)
    set("rope.scaling.attn_factor", static_cast<float>(config.rope.attention_factor));
}

}  // namespace galapagos::gguf
