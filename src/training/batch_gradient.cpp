#include <algorithm>
#include <cmath>

#include <galapagos/model/stage.hpp>
#include <galapagos/training/batch_gradient.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t logit_rows = 256;

OwnedTensor matrix(const ops::Context& context, std::int64_t rows, std::int64_t columns) {
  return OwnedTensor({rows, columns}, DType::f32, context.device(), "hidden states");
}

}  // namespace

Teacher::Teacher(const ops::Context& context, const ModelSource& source, std::int64_t most_tokens,
                 const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(source.config),
      weights_(load_model_weights(source)),
      forward_(context, config_, most_tokens, shards),
      hidden_(matrix(context, most_tokens, config_.hidden_size)) {}

std::uint64_t Teacher::bytes(const ModelSource& source, std::int64_t most_tokens, Device device,
                             DType activations) {
  const std::int64_t rest = head_parameters(source.config);
  return stage_weight_bytes(source.config, {0, source.config.layers}, source.precision) +
         static_cast<std::uint64_t>(rest) * size_of(source.precision) +
         activation_bytes(source.config, most_tokens, activations) +
         static_cast<std::uint64_t>(OutputPass::tile(most_tokens, device) * source.config.hidden_size) *
             sizeof(float);
}

ReferenceLogits Teacher::answer(const Batch& batch) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const Tensor hidden = hidden_->view({tokens, config_.hidden_size});
  embed_tokens(context_, shards_, batch.tokens, weights_.embedding, hidden);
  for (const LayerWeights& layer : weights_.layers) forward_.run(layer, batch.offsets, hidden);
  return [this, hidden](std::int64_t first, const Tensor& logits) {
    compute_logits(context_, config_, weights_.norm, weights_.output(), hidden.slice(first, logits.rows()),
                   logits);
  };
}

std::optional<double> add_gradients(TrainingPass& pass, const ModelWeights& weights,
                                    const TokenSet& sequences, std::int64_t batch_tokens, float weight,
                                    Teacher* teacher, const Gradients& gradients,
                                    const std::function<bool()>& stop) {
  double sum = 0;
  for (const Batch& batch : make_batches(sequences.tokens, sequences.offsets, batch_tokens)) {
    if (stop && stop()) return std::nullopt;
    const ReferenceLogits reference = teacher != nullptr ? teacher->answer(batch) : ReferenceLogits();
    sum += pass.run(weights, batch, weight, reference, gradients);
    if (!std::isfinite(sum)) return sum;
  }
  return sum;
}

std::uint64_t nll_bytes(const HfConfig& config, std::int64_t most_tokens, DType activations) {
  return activation_bytes(config, most_tokens, activations) +
         static_cast<std::uint64_t>(logit_rows * (config.vocab_size + config.hidden_size)) * sizeof(float);
}

double sum_nll(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
               const TokenSet& sequences, std::int64_t batch_tokens, const Shards& shards) {
  const std::vector<Batch> batches = make_batches(sequences.tokens, sequences.offsets, batch_tokens);
  std::size_t most = 0;
  for (const Batch& batch : batches) most = std::max(most, batch.tokens.size());
  if (most == 0) return 0;
  LayerForward forward(context, config, static_cast<std::int64_t>(most), shards);
  LogitLosses losses(context, shards, logit_rows, config.vocab_size, false);
  const OwnedTensor states = matrix(context, static_cast<std::int64_t>(most), config.hidden_size);
  const OwnedTensor all_logits = matrix(context, logit_rows, config.vocab_size);
  double sum = 0;
  for (const Batch& batch : batches) {
    const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
    const Tensor hidden = states->view({tokens, config.hidden_size});
    embed_tokens(context, shards, batch.tokens, weights.embedding, hidden);
    for (const LayerWeights& layer : weights.layers) forward.run(layer, batch.offsets, hidden);
    std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
    targets.push_back(0);
    std::vector<double> nll(batch.tokens.size());
    for (std::int64_t first = 0; first < tokens; first += logit_rows) {
      const std::int64_t count = std::min(logit_rows, tokens - first);
      const Tensor logits = all_logits->slice(0, count);
      compute_logits(context, config, weights.norm, weights.output(), hidden.slice(first, count), logits);
      losses.nll(logits,
                 std::span(targets).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
                 std::span(nll).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
    }
    for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
      for (std::int64_t i = batch.offsets[s]; i + 1 < batch.offsets[s + 1]; ++i)
        sum += nll[static_cast<std::size_t>(i)];
    }
  }
  return sum;
}

}  // namespace galapagos
