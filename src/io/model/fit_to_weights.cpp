#include "fit_to_weights.hpp"

#include "darwinlm_model.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <initializer_list>

#include <galapagos/io/checkpoint.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

bool has_weights(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator file(folder, error), end; !error && file != end; file.increment(error))
    if (file->path().extension() == ".safetensors") return true;
  return false;
}

bool same(const TensorEntry& a, const TensorEntry& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.data, b.data);
}

constexpr const char* tie = "tie_word_embeddings";

/// Whether a model of text and images leaves open whether it ties.
bool leaves_open(const HfConfig& config) {
  const auto said = config.source.find(tie);
  return said != config.source.end() && said->is_null();
}

/// transformers 5 ties only what is equal; its releases before 5 would forget the head.
void fit_head(HfConfig& config, const Checkpoint& checkpoint, std::vector<std::string>& warnings) {
  constexpr const char *head = "lm_head.weight", *embedding = "model.embed_tokens.weight";
  if (leaves_open(config)) {
    config.tie_word_embeddings =
        !checkpoint.has(head) ||
        (checkpoint.has(embedding) && same(checkpoint.entry(head), checkpoint.entry(embedding)));
    config.source[tie] = config.tie_word_embeddings;
    return;
  }
  if (!config.tie_word_embeddings || !checkpoint.has(head) || !checkpoint.has(embedding)) return;
  if (same(checkpoint.entry(head), checkpoint.entry(embedding))) return;
  config.tie_word_embeddings = false;
  config.source[tie] = false;
  warnings.push_back(fmt::format(
      "{}: tie_word_embeddings is true, but another {} is stored than {}: the stored one is taken, as "
      "transformers 5 does (4 takes the embedding)",
      checkpoint.folder().string(), head, embedding));
}

/// Whether any layer has any of these.
bool any_stored(const HfConfig& config, const Checkpoint& checkpoint,
                std::initializer_list<const char*> names) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    for (const char* name : names)
      if (checkpoint.has(fmt::format("model.layers.{}.{}", layer, name))) return true;
  }
  return false;
}

/// transformers makes biases that are not stored zeros, which is to have none.
void fit_biases(HfConfig& config, const Checkpoint& checkpoint, std::vector<std::string>& warnings) {
  const auto fit = [&](bool ModelFeatures::*feature, const char* key, const char* what,
                       std::initializer_list<const char*> names) {
    const bool asked = config.features.*feature && config.source.value(key, Json(false)) == true;
    if (!asked || any_stored(config, checkpoint, names)) return;
    config.features.*feature = false;
    warnings.push_back(
        fmt::format("{}: {} is true, but no {} is stored: taken for zeros, as transformers does",
                    checkpoint.folder().string(), key, what));
  };
  const ModelFeatures before = config.features;
  fit(&ModelFeatures::qkv_bias, "attention_bias", "bias of q, k or v",
      {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"});
  fit(&ModelFeatures::o_bias, "attention_bias", "bias of o", {"self_attn.o_proj.bias"});
  fit(&ModelFeatures::mlp_bias, "mlp_bias", "bias of gate, up or down",
      {"mlp.gate_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"});
  if (before.o_bias && !config.features.qkv_bias && !config.features.o_bias)
    config.source["attention_bias"] = false;
  if (before.mlp_bias && !config.features.mlp_bias) config.source["mlp_bias"] = false;
}

}  // namespace

void warn_of_unseen_shapes(const HfConfig& config, const std::string& where,
                           std::vector<std::string>& warnings) {
  if (!is_darwinlm(config.source)) return;
  warnings.push_back(where +
                     ": what is left of a DarwinLM model's layers is in its weights, which are not "
                     "there: taken for the unpruned model");
}

void fit_to_weights(HfConfig& config, const fs::path& folder, std::vector<std::string>& warnings) {
  const bool asks = is_darwinlm(config.source) || config.tie_word_embeddings || leaves_open(config) ||
                    config.features.o_bias || config.features.mlp_bias;
  if (!has_weights(folder)) return warn_of_unseen_shapes(config, folder.string(), warnings);
  if (!asks) return;
  const Checkpoint checkpoint(folder);
  if (is_darwinlm(config.source)) fit_darwinlm_shapes(config, checkpoint, warnings);
  fit_head(config, checkpoint, warnings);
  fit_biases(config, checkpoint, warnings);
}

}  // namespace galapagos
