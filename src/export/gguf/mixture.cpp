#include "mixture.hpp"

#include "rope.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::gguf {
namespace {

constexpr Architecture qwen3moe = {.name = "qwen3moe"};
constexpr Architecture llama = {.name = "llama", .interleaved = true, .frequencies = true};
constexpr Architecture step35 = {
    .name = "step35", .uneven = true, .mixed = true, .half_turned = true, .untied = true};

/// llama.cpp's own limit.
constexpr std::int64_t most_experts = 1024;

/// llama.cpp's numbers of how the router's logits become weights: by a softmax over all experts, or over
/// those that are chosen.
constexpr std::uint32_t by_softmax = 1, by_softmax_of_chosen = 3;

/// What the logit of an expert that is not there is lowered by.
constexpr float never = -1e30f;

/// Whether the file has the layer as a mixture.
bool several(const LayerShape& layer) {
  return layer.experts.size() > 1;
}

std::int64_t experts_of(const HfConfig& config) {
  std::int64_t most = 0;
  for (const LayerShape& layer : config.layer_shapes)
    if (several(layer)) most = std::max(most, std::ssize(layer.experts));
  return most;
}

std::int64_t chosen_of(const HfConfig& config) {
  return std::min(config.mixture->experts_per_token, experts_of(config));
}

bool alike(const HfConfig& config) {
  const LayerShape& first = config.layer_shapes.front();
  return std::ranges::all_of(config.layer_shapes, [&](const LayerShape& layer) {
    return several(layer) && layer.experts.size() == first.experts.size() && layer.heads() > 0 &&
           layer.kv_heads == first.kv_heads && layer.kv_of_head == first.kv_of_head;
  });
}

[[noreturn]] void refuse(const std::string& what) {
  throw InputError(what, "--format gguf", "choose --format hf, or another assignment");
}

/// What not even `step35` can be told.
void check_counts(const HfConfig& config) {
  const std::int64_t most = experts_of(config), chosen = chosen_of(config);
  if (most > most_experts)
    refuse(fmt::format("llama.cpp has at most {} experts in a layer, not {}", most_experts, most));
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::int64_t experts = std::ssize(config.shape(layer).experts);
    if (experts < 2 || experts == most) continue;
    if (experts < chosen)
      refuse(fmt::format(
          "layer {} has {} experts left where a token goes to {} in others, and llama.cpp has one "
          "number for all layers",
          layer, experts, chosen));
    if (!config.mixture->renormalised)
      refuse(
          fmt::format("layer {} has {} experts left where another has {}, which llama.cpp computes only of "
                      "models whose weights of a token's experts sum up to 1",
                      layer, experts, most));
  }
}

}  // namespace

const Architecture& mixture_architecture(const HfConfig& config) {
  check_counts(config);
  const Architecture& own = config.features.qk_norm ? qwen3moe : llama;
  if (alike(config) && config.mixture->renormalised && knows_rope(own, config.rope)) return own;
  const RopeSettings& rope = config.rope;
  const bool usual = rope.kind == RopeKind::standard || rope.kind == RopeKind::dynamic;
  if (!usual || rope.rotated_share != 1)
    refuse(
        fmt::format("llama.cpp has no architecture for mixtures whose layers differ, or whose weights of a "
                    "token's experts do not sum up to 1, with rope scaling '{}'",
                    name_of(rope.kind)));
  return step35;
}

std::vector<LayerFit> mixture_fits(const Architecture& architecture, const HfConfig& config,
                                   std::int64_t columns) {
  const std::int64_t experts = experts_of(config);
  std::int64_t dense = zero_columns, width = 1;
  for (const LayerShape& layer : config.layer_shapes) {
    if (!several(layer)) dense = std::max(dense, layer.columns);
    if (several(layer)) width = std::max(width, std::ranges::max(layer.experts));
  }
  std::vector<LayerFit> fits;
  for (const LayerShape& layer : config.layer_shapes) {
    const std::span<const LayerShape> together =
        architecture.uneven ? std::span(&layer, 1) : std::span(config.layer_shapes);
    LayerFit& fit = fits.emplace_back(in_groups(layer, cheapest_group(together)));
    if (fit.heads.empty()) fill_groups(fit, 1, 1);
    fit.columns = multiple(dense, columns);
    if (!several(layer)) continue;
    fit.experts.assign(static_cast<std::size_t>(experts), multiple(width, columns));
    fit.columns = experts * fit.experts.front();
  }
  return fits;
}

void describe_mixture(Metadata& metadata, const Architecture& architecture, const HfConfig& config,
                      std::span<const LayerFit> fits) {
  const std::string prefix = std::string(architecture.name) + ".";
  const auto set = [&](const char* key, std::int64_t value) {
    metadata.set(prefix + key, static_cast<std::uint32_t>(value));
  };
  std::int64_t dense = 0, width = 0;
  for (const LayerFit& fit : fits) {
    if (fit.experts.empty()) dense = fit.columns;
    if (!fit.experts.empty()) width = fit.experts.front();
  }
  set("feed_forward_length", architecture.mixed && dense > 0 ? dense : width);
  set("expert_feed_forward_length", width > 0 ? width : zero_columns);
  if (const std::int64_t experts = experts_of(config); experts > 0) {
    set("expert_count", experts);
    set("expert_used_count", chosen_of(config));
  }
  if (!architecture.mixed) return;
  set("expert_shared_feed_forward_length", zero_columns);
  set("expert_gating_func", config.mixture->renormalised ? by_softmax_of_chosen : by_softmax);
  metadata.set(prefix + "expert_weights_norm", false);
  // It wants a layer with a window, which is told to be as long as any text, and to turn heads as the others.
  std::vector<std::int32_t> windows(fits.size(), 0);
  windows.front() = 1;
  metadata.set(prefix + "attention.sliding_window_pattern", std::span<const std::int32_t>(windows));
  set("attention.sliding_window", config.longest_sequence());
  set("rope.dimension_count_swa", config.head_dim);
  metadata.set(prefix + "rope.freq_base_swa", static_cast<float>(config.rope.theta));
}

std::vector<FileTensor> mixture_tensors(const Architecture& architecture, const HfConfig& config,
                                        std::span<const LayerFit> fits) {
  std::vector<FileTensor> tensors;
  if (!architecture.mixed) return tensors;
  for (std::size_t layer = 0; layer < fits.size(); ++layer) {
    const std::size_t experts = fits[layer].experts.size(), own = config.layer_shapes[layer].experts.size();
    if (experts == 0) continue;
    const auto name = [&](const char* tensor) { return fmt::format("blk.{}.{}", layer, tensor); };
    // An expert that all tokens go to besides, which it wants and which puts out zeros.
    for (const char* rows : {"ffn_gate_shexp.weight", "ffn_up_shexp.weight"})
      tensors.push_back(zero_matrix(name(rows), zero_columns, config.hidden_size));
    tensors.push_back(zero_matrix(name("ffn_down_shexp.weight"), config.hidden_size, zero_columns));
    if (own == experts) continue;
    std::vector<float> lowered(experts, 0);
    std::fill(lowered.begin() + static_cast<std::ptrdiff_t>(own), lowered.end(), never);
    tensors.push_back(float_vector(name("exp_probs_b.bias"), std::move(lowered)));
  }
  return tensors;
}

}  // namespace galapagos::gguf
