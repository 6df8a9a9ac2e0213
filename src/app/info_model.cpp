#include "info.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <galapagos/core/hash.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos::app {
namespace {

std::string features_of(const HfConfig& config) {
  std::string text;
  if (config.features.qkv_bias) text += ", q/k/v biases";
  if (config.features.qk_norm) text += ", q/k norms";
  if (config.features.o_bias) text += ", o bias";
  if (config.features.mlp_bias) text += ", gate/up/down biases";
  std::int64_t window = 0, windows = 0, without_rope = 0;
  for (const AttentionKind& kind : config.attention_kinds) {
    window = std::max(window, kind.window);
    windows += kind.window > 0 ? 1 : 0;
    without_rope += kind.rope == LayerRope::none ? 1 : 0;
  }
  if (windows > 0) text += fmt::format(", windows of {} in {} layers", window, windows);
  if (without_rope > 0) text += fmt::format(", no rope in {} layers", without_rope);
  if (config.features.post_norms) text += ", norms behind both parts";
  if (config.attention_cap != 0) text += fmt::format(", scores capped at {:g}", config.attention_cap);
  if (config.logit_cap != 0) text += fmt::format(", logits capped at {:g}", config.logit_cap);
  return text;
}

/// Columns of feed-forward parts, and what mixtures there are.
std::string ffn_text(const HfConfig& config) {
  if (!config.mixture) return std::to_string(config.intermediate_size);
  const MixtureSettings& mixture = *config.mixture;
  std::int64_t dense = 0;
  for (const LayerShape& shape : config.layer_shapes) dense += !shape.mixture() && shape.columns > 0 ? 1 : 0;
  std::string text = fmt::format("{} experts of {}, {} per token{}", mixture.experts, mixture.expert_size,
                                 mixture.experts_per_token, mixture.renormalised ? ", renormalised" : "");
  if (dense > 0) text += fmt::format("; {} dense layers of {}", dense, config.intermediate_size);
  return text;
}

/// Of all layers; those of a pruned model that have no feed-forward part any more are counted as mixtures
/// where the family has such.
std::int64_t unpruned_columns(const HfConfig& config) {
  std::int64_t sum = 0;
  for (const LayerShape& shape : config.layer_shapes) {
    const bool mixture = shape.mixture() || (config.mixture && shape.columns == 0);
    sum += mixture ? config.mixture->experts * config.mixture->expert_size : config.intermediate_size;
  }
  return sum;
}

}  // namespace

Description describe_model(const std::filesystem::path& folder) {
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const std::int64_t in_layers = parameters_in_layers(config);
  const std::int64_t total = parameters_in_model(config);
  std::int64_t prunable = 0, heads = 0, kv_heads = 0, columns = 0;
  for (const LayerShape& shape : config.layer_shapes) {
    prunable += config.hidden_size * (shape.heads() * config.head_dim + shape.columns);
    heads += shape.heads();
    kv_heads += shape.kv_heads;
    columns += shape.columns;
  }
  std::string rope = fmt::format("theta {:g}", config.rope.theta);
  if (config.rope.kind != RopeKind::standard)
    rope += fmt::format(", {} scaling by {:g}", name_of(config.rope.kind), config.rope.factor);
  if (config.rope.rotated_share != 1) rope += fmt::format(", {:g} of a head", config.rope.rotated_share);
  const auto count = [](std::int64_t number) { return human_count(static_cast<std::uint64_t>(number)); };

  Description description;
  description.text = fmt::format(
      "model          {}\nlayers         {}\nhidden size    {}\nheads          {} of {}, {} KV heads{}\nffn "
      "columns    {}\n"
      "vocabulary     {}{}\npositions      {}, {}\nparameters     {} ({} in layers, {} in o_proj and "
      "down_proj)\n"
      "weights        {}, {} in {} tensors\nfingerprint    {}\n",
      config.model_type, config.layers, config.hidden_size, config.heads, config.head_dim, config.kv_heads,
      features_of(config), ffn_text(config), config.vocab_size,
      config.tie_word_embeddings ? ", tied output head" : "", config.max_position_embeddings, rope,
      count(total), count(in_layers), count(prunable), name_of(checkpoint.dtype()),
      human_bytes(checkpoint.total_bytes()), checkpoint.names().size(), hex64(checkpoint.fingerprint()));
  if (config.pruned()) {
    description.text += fmt::format(
        "pruned         {} of {} heads, {} of {} KV heads, {} of {} columns left; by layer, heads/KV "
        "heads/columns:\n",
        count(heads), count(config.heads * config.layers), count(kv_heads),
        count(config.kv_heads * config.layers), count(columns), count(unpruned_columns(config)));
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      const LayerShape& shape = config.shape(layer);
      description.text += fmt::format("{:>7}  {}/{}/{}", layer, shape.heads(), shape.kv_heads, shape.columns);
      if (shape.mixture())
        description.text +=
            fmt::format(" of {} experts: {}", shape.experts.size(), fmt::join(shape.experts, " "));
      description.text += "\n";
    }
  }
  Json& json = description.json;
  json["kind"] = "model";
  json["model_type"] = config.model_type;
  json["layers"] = config.layers;
  json["hidden_size"] = config.hidden_size;
  json["heads"] = config.heads;
  json["kv_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["ffn_columns"] = config.intermediate_size;
  json["vocab_size"] = config.vocab_size;
  for (const LayerShape& shape : config.layer_shapes) {
    json["layer_shapes"].push_back(
        {{"heads", shape.heads()}, {"kv_heads", shape.kv_heads}, {"columns", shape.columns}});
    if (shape.mixture()) json["layer_shapes"].back()["experts"] = shape.experts;
  }
  json["parameters"] = total;
  json["parameters_in_layers"] = in_layers;
  json["prunable_parameters"] = prunable;
  json["dtype"] = name_of(checkpoint.dtype());
  json["bytes"] = checkpoint.total_bytes();
  json["fingerprint"] = hex64(checkpoint.fingerprint());
  return description;
}

}  // namespace galapagos::app
