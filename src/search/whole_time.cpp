#include "timing_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/model/embedding.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/model/model_weights.hpp>
#include <galapagos/search/least_seconds.hpp>
#include <galapagos/search/whole_time.hpp>
#include <galapagos/tensor/gpu.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
namespace {

/// Weights of a model's shapes.
ModelWeights shaped_weights(const ops::Context& context, const HfConfig& config, DType precision) {
  constexpr float usual = 0.035F;  // of a standard deviation of 0.02
  const auto make = [&](const TensorSpec& spec, const Extents& extents) {
    return random_tensor(context, extents.shape(spec), spec.vector() ? DType::f32 : precision,
                         spec.vector() ? 1 : usual);
  };
  ModelWeights weights;
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    weights.layers.push_back(make_layer(config, layer, whole_layer(config.shape(layer)),
                                        [&](const TensorSpec& spec, std::int64_t, const Extents&,
                                            const Extents& own) { return make(spec, own); }));
  const Extents outer(config, LayerShape());
  weights.embedding = make(layer_tensors::embedding, outer);
  weights.norm = make(layer_tensors::final_norm, outer);
  if (!config.tie_word_embeddings) weights.head = make(layer_tensors::head, outer);
  return weights;
}

/// Tokens that go through the model at once.
std::int64_t tokens_of(const Timing& timing, LatencyPhase phase) {
  return timing.batch * (phase == LatencyPhase::prefill ? timing.length : 1);
}

/// Keys that the tokens decoded look at in a layer, all KV heads and sequences together.
std::int64_t keys_of(const HfConfig& config, std::int64_t layer, const Timing& timing) {
  const std::int64_t window = config.attention_kind(layer).window;
  return timing.batch * config.shape(layer).kv_heads *
         (window > 0 ? std::min(window, timing.length) : timing.length);
}

/// What a pass holds beside weights and caches.
struct WholeStates {
  OwnedTensor hidden, logits, queries, scores, mixed;
  LayerForward forward;

  WholeStates(const ops::Context& context, const HfConfig& config, const Timing& timing, LatencyPhase phase)
      : hidden(hidden_states(context, config, tokens_of(timing, phase))),
        logits({timing.batch, config.vocab_size}, DType::f32, context.device(), "logits"),
        forward(context, config, tokens_of(timing, phase)) {
    std::int64_t most = 0, most_scores = 0;
    for (std::int64_t layer = 0; phase == LatencyPhase::decode && layer < config.layers; ++layer) {
      const LayerShape& shape = config.shape(layer);
      const std::int64_t rows = queries_of(shape.heads(), shape.kv_heads);
      most = std::max(most, rows);
      most_scores = std::max(most_scores, rows * keys_of(config, layer, timing));
    }
    const DType type = context.activations();
    queries = OwnedTensor({most, config.head_dim}, type, context.device(), "states");
    mixed = OwnedTensor({most, config.head_dim}, type, context.device(), "states");
    scores = OwnedTensor({most_scores}, type, context.device(), "scores");
  }
};

/// A model that runs.
class WholeModel {
 public:
  WholeModel(const ops::Context& context, const HfConfig& config, const Timing& timing, LatencyPhase phase)
      : context_(context),
        config_(config),
        timing_(timing),
        decodes_(phase == LatencyPhase::decode),
        weights_(shaped_weights(context, config, timing.precision)),
        states_(context, config, timing, phase),
        ids_(random_ids(config, tokens_of(timing, phase))),
        offsets_(even_offsets(timing.batch, decodes_ ? 1 : timing.length)),
        caches_(static_cast<std::size_t>(config.layers)) {
    if (!decodes_) return;
    states_.queries = random_tensor(context, states_.queries->shape, context.activations());
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
      if (config.shape(layer).heads() > 0)
        caches_[static_cast<std::size_t>(layer)] =
            TimedCache(context, config, keys_of(config, layer, timing), timing.precision);
  }

  void run() {
    embed_tokens(context_, config_, alone(), ids_, weights_.embedding, states_.hidden);
    for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
      const LayerWeights& weights = weights_.layers[layer];
      states_.forward.attention(weights.attention, offsets_, states_.hidden);
      if (decodes_ && weights.attention.heads() > 0) look_back(weights.attention, caches_[layer]);
      states_.forward.feed_forward(weights.ffn, states_.hidden);
    }
    compute_logits(context_, config_, weights_.norm, weights_.output(),
                   states_.hidden->slice(std::ssize(ids_) - timing_.batch, timing_.batch), states_.logits);
  }

 private:
  void look_back(const AttentionWeights& attention, const TimedCache& cache) {
    const std::int64_t rows = queries_of(attention.heads(), attention.kv_heads);
    const std::int64_t keys = cache.k->shape[0];
    attend(context_, states_.queries->slice(0, rows), cache,
           states_.scores->slice(0, rows * keys).view({rows, keys}), states_.mixed->slice(0, rows));
  }

  const ops::Context& context_;
  const HfConfig& config_;
  const Timing& timing_;
  bool decodes_;
  ModelWeights weights_;
  WholeStates states_;
  std::vector<std::int32_t> ids_;
  std::vector<std::int64_t> offsets_;
  std::vector<TimedCache> caches_;
};

}  // namespace

double whole_seconds(const ops::Context& context, const HfConfig& model, const Timing& timing,
                     LatencyPhase phase) {
  WholeModel whole(context, model, timing, phase);
  return least_seconds(context.device(), timing.repeats, fmt::format("a whole model ({})", name_of(phase)),
                       [&] { whole.run(); });
}

std::uint64_t whole_time_bytes(const HfConfig& model, std::int64_t parameters, const Timing& timing,
                               LatencyPhase phase, DType activations) {
  // A CPU would have activations in fp32, whatever is asked for.
  const ops::Context context = ops::Context::planned(Device::cuda, activations);
  const auto word = static_cast<std::uint64_t>(size_of(timing.precision));
  std::uint64_t bytes = static_cast<std::uint64_t>(parameters) * word +
                        bytes_held([&] { return WholeStates(context, model, timing, phase); });
  for (std::int64_t layer = 0; phase == LatencyPhase::decode && layer < model.layers; ++layer)
    bytes += 2 * static_cast<std::uint64_t>(keys_of(model, layer, timing) * model.head_dim) * word;
  return bytes;
}

}  // namespace galapagos
