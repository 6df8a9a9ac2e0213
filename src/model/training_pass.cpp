#include <algorithm>
#include <cmath>

#include <galapagos/model/training_pass.hpp>
#include <galapagos/ops/backward.hpp>

namespace galapagos {
std::int64_t predicted_tokens(std::span<const std::int64_t> offsets) {
  std::int64_t predicted = 0;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
    predicted += std::max<std::int64_t>(offsets[s + 1] - offsets[s] - 1, 0);
  return predicted;
}

std::uint64_t TrainingPass::bytes(const HfConfig& config, std::int64_t most_tokens, bool recompute,
                                  Device device, DType activations) {
  std::int64_t width = (config.layers + 2) * config.hidden_size * static_cast<std::int64_t>(sizeof(float)) +
                       LayerPass::width(config, activations);
  if (recompute) {
    width += LayerTape::width(config, widest_shape(config), activations);
  } else {
    for (const LayerShape& shape : config.layer_shapes) width += LayerTape::width(config, shape, activations);
  }
  return static_cast<std::uint64_t>(most_tokens * width) + OutputPass::bytes(config, most_tokens, device) +
         LogitLosses::bytes(OutputPass::tile(most_tokens, device), config.vocab_size, true);
}

TrainingPass::TrainingPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           bool recompute, const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      recompute_(recompute),
      layers_(context, config, most_tokens, shards),
      output_(context, config, most_tokens, shards),
      losses_(context, shards, OutputPass::tile(most_tokens, context.device()), config.vocab_size, true) {
  const auto states = [&] {
    return OwnedTensor({most_tokens, config.hidden_size}, DType::f32, context.device(),
                       "activations of training");
  };
  for (const LayerShape& shape : config.layer_shapes) {
    before_.push_back(states());
    if (!recompute) tapes_.emplace_back(context, config, shape, most_tokens);
  }
  if (recompute) tapes_.emplace_back(context, config, widest_shape(config), most_tokens);
  hidden_ = states();
  d_hidden_ = states();
}

double TrainingPass::loss(const ModelWeights& weights, const Batch& batch, float weight,
                          const ReferenceLogits& reference, const Tensor& hidden, const Tensor& d_hidden,
                          const Gradients& gradients) {
  const std::int64_t tokens = hidden.rows();
  std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
  targets.push_back(0);
  std::vector<float> each(static_cast<std::size_t>(tokens), weight);
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    if (batch.offsets[s + 1] > batch.offsets[s]) each[static_cast<std::size_t>(batch.offsets[s + 1] - 1)] = 0;
  }
  std::vector<double> found;
  const auto of_tile = [&](std::int64_t first, const Tensor& logits) {
    const auto at = static_cast<std::size_t>(first), some = static_cast<std::size_t>(logits.rows());
    const std::span<const float> weights_of = std::span(each).subspan(at, some);
    const std::span<const std::int32_t> targets_of = std::span(targets).subspan(at, some);
    found.resize(some);
    if (reference) {
      reference(first, losses_.reference(logits.rows()));
      losses_.take_reference(logits.rows());
      losses_.divergence(logits, found);
    } else {
      losses_.nll(logits, targets_of, found);
    }
    double sum = 0;
    for (std::size_t i = 0; i < some; ++i) sum += weights_of[i] == 0 ? 0 : found[i];
    if (!std::isfinite(sum)) return sum;
    if (reference) {
      losses_.divergence_backward(weights_of, logits);
    } else {
      losses_.nll_backward(targets_of, weights_of, logits);
    }
    return sum;
  };
  return output_.run(weights.norm, weights.output(), hidden, d_hidden, of_tile,
                     {gradients.norm(), gradients.output()});
}

double TrainingPass::run(const ModelWeights& weights, const Batch& batch, float weight,
                         const ReferenceLogits& reference, const Gradients& gradients) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto states = [&](const OwnedTensor& tensor) { return tensor->view({tokens, config_.hidden_size}); };
  const Tensor hidden = states(hidden_), d_hidden = states(d_hidden_);
  embed_tokens(context_, shards_, batch.tokens, weights.embedding, hidden);
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    copy_values(hidden, states(before_[layer]));
    const LayerTape& tape = tapes_[recompute_ ? 0 : layer];
    layers_.fill_tape(weights.layers[layer], batch.offsets, tape, hidden);
    layers_.finish(weights.layers[layer], tape, hidden);
  }
  fill_zero(d_hidden);
  const double sum = loss(weights, batch, weight, reference, hidden, d_hidden, gradients);
  if (!std::isfinite(sum)) return sum;
  for (std::size_t layer = weights.layers.size(); layer-- > 0;) {
    const LayerTape& tape = tapes_[recompute_ ? 0 : layer];
    const Tensor before = states(before_[layer]);
    if (recompute_ && layer + 1 < weights.layers.size()) {
      copy_values(before, hidden);
      layers_.fill_tape(weights.layers[layer], batch.offsets, tape, hidden);
    }
    layers_.backward(weights.layers[layer], batch.offsets, tape, before, d_hidden, gradients.layer(layer));
  }
  ops::embed_backward(context_, batch.tokens, d_hidden, gradients.embedding(), shards_.first_id());
  return sum;
}

}  // namespace galapagos
