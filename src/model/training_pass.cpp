#include <algorithm>
#include <cmath>

#include <galapagos/model/embedding.hpp>
#include <galapagos/model/logit_tiles.hpp>
#include <galapagos/model/router_balance.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
namespace {

bool both_of_logits(const TrainingLoss& loss) {
  return loss.text != 0 && loss.logits != 0;
}

}  // namespace

std::int64_t predicted_tokens(std::span<const std::int64_t> offsets) {
  std::int64_t predicted = 0;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
    predicted += std::max<std::int64_t>(offsets[s + 1] - offsets[s] - 1, 0);
  return predicted;
}

std::uint64_t TrainingPass::bytes(const HfConfig& config, std::int64_t most_tokens, bool recompute,
                                  Device device, DType activations, const TrainingLoss& loss) {
  const ops::Context context = ops::Context::planned(device, activations);
  return bytes_held([&] { return TrainingPass(context, config, most_tokens, recompute, alone(), loss); });
}

TrainingPass::TrainingPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           bool recompute, const Shards& shards, const TrainingLoss& loss)
    : context_(context),
      shards_(shards),
      config_(config),
      recompute_(recompute),
      layers_(context, config, most_tokens, shards),
      output_(context, config, most_tokens, shards),
      loss_(loss),
      losses_(context, shards, ops::logit_tile(context.device(), most_tokens), config.vocab_size,
              loss.logits != 0) {
  const auto states = [&] {
    return OwnedTensor({most_tokens, config.hidden_size}, DType::f32, context.device(),
                       "activations of training");
  };
  for (const LayerShape& shape : config.layer_shapes) {
    before_.push_back(states());
    if (!recompute) tapes_.emplace_back(context, config, shape, most_tokens);
  }
  if (recompute) tapes_.emplace_back(context, config, widest_layer(config), most_tokens);
  hidden_ = states();
  d_hidden_ = states();
  if (!both_of_logits(loss)) return;
  text_logits_ = OwnedTensor({ops::logit_tile(context.device(), most_tokens), config.vocab_size}, DType::f32,
                             context.device(), "logits and their gradients");
}

std::vector<float> token_weights(const Batch& batch, float weight) {
  std::vector<float> each(batch.tokens.size(), 0.0f);
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    for (auto i = static_cast<std::size_t>(batch.offsets[s]);
         i + 1 < static_cast<std::size_t>(batch.offsets[s + 1]); ++i) {
      if (batch.in_loss.empty() || batch.in_loss[i + 1] != 0) each[i] = weight;
    }
  }
  return each;
}

namespace {

std::vector<float> times(std::span<const float> weights, double factor) {
  std::vector<float> scaled;
  for (const float weight : weights) scaled.push_back(weight * static_cast<float>(factor));
  return scaled;
}

/// The sum of what was found of the tokens that count.
double sum_of(std::span<const double> found, std::span<const float> weights) {
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) sum += weights[i] == 0 ? 0 : found[i];
  return sum;
}

}  // namespace

/// Of the logits, a tile at a time.
void TrainingPass::add_output_losses(const ModelWeights& weights, const Batch& batch,
                                     std::span<const float> each, const ReferenceAnswer& reference,
                                     const Tensor& hidden, const Tensor& d_hidden, const Gradients& gradients,
                                     LossSums& sums) {
  std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
  targets.push_back(0);
  std::vector<double> found;
  const auto text = [&](std::int64_t first, std::span<const float> weights_of, const Tensor& logits) {
    const std::span<const std::int32_t> targets_of =
        std::span(targets).subspan(static_cast<std::size_t>(first), weights_of.size());
    losses_.nll(logits, targets_of, found);
    const double sum = sum_of(found, weights_of);
    sums.text += sum;
    if (std::isfinite(sum)) losses_.nll_backward(targets_of, times(weights_of, loss_.text), logits);
    return loss_.text * sum;
  };
  // Of T^2 L(r / T, x / T) by x it is T times L's gradient by x / T.
  const auto of_reference = [&](std::int64_t first, std::span<const float> weights_of, const Tensor& logits) {
    const Tensor wanted = losses_.reference(logits.rows());
    reference.logits(first, wanted);
    if (loss_.temperature != 1) {
      const auto cooled = static_cast<float>(1 / loss_.temperature);
      ops::combine(context_, cooled, wanted, 0, wanted);
      ops::combine(context_, cooled, logits, 0, logits);
    }
    losses_.take_reference(logits.rows());
    const bool of_kl = loss_.reference_loss == ReferenceLoss::kl;
    if (of_kl) {
      losses_.divergence(logits, found);
    } else {
      losses_.total_variation(logits, found);
    }
    const double sum = loss_.temperature * loss_.temperature * sum_of(found, weights_of);
    sums.logits += sum;
    if (!std::isfinite(sum)) return sum;
    const std::vector<float> factors = times(weights_of, loss_.logits * loss_.temperature);
    if (of_kl) {
      losses_.divergence_backward(factors, logits);
    } else {
      losses_.total_variation_backward(factors, logits);
    }
    return loss_.logits * sum;
  };
  const auto of_tile = [&](std::int64_t first, const Tensor& logits) {
    const std::int64_t rows = logits.rows();
    const std::span<const float> weights_of =
        each.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows));
    found.resize(weights_of.size());
    if (loss_.logits == 0) return text(first, weights_of, logits);
    if (loss_.text == 0) return of_reference(first, weights_of, logits);
    const Tensor for_text = text_logits_->slice(0, rows);
    copy_values(logits, for_text);
    const double sum = text(first, weights_of, for_text) + of_reference(first, weights_of, logits);
    ops::combine(context_, 1, for_text, 1, logits);
    return sum;
  };
  sums.all += output_.run(weights.norm, weights.output(), hidden, d_hidden, of_tile,
                          {gradients.norm(), gradients.output()});
}

/// Of the residual stream after a layer, where it is compared: all shards hold the same stream and the same
/// gradient by it, so that each adds the whole of it to its own.
void TrainingPass::add_hidden_loss(std::int64_t layer, std::span<const float> each,
                                   const ReferenceAnswer& reference, const Tensor& after,
                                   const Tensor& d_after, LossSums& sums) {
  const auto place = std::find(loss_.layers.begin(), loss_.layers.end(), layer);
  if (place == loss_.layers.end()) return;
  const double share = 1 / static_cast<double>(loss_.layers.size());
  std::vector<double> found(each.size());
  ops::hidden_loss(context_, loss_.hidden_loss, after,
                   reference.hidden[static_cast<std::size_t>(place - loss_.layers.begin())],
                   times(each, loss_.hidden * share), d_after, found);
  const double sum = share * sum_of(found, each);
  sums.hidden += sum;
  sums.all += loss_.hidden * sum;
}

LossSums TrainingPass::run(const ModelWeights& weights, const Batch& batch, float weight,
                           const ReferenceAnswer& reference, const Gradients& gradients) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto states = [&](const OwnedTensor& tensor) { return tensor->view({tokens, config_.hidden_size}); };
  const Tensor hidden = states(hidden_), d_hidden = states(d_hidden_);
  embed_tokens(context_, config_, shards_, batch.tokens, weights.embedding, hidden);
  RouterBalance balance;
  const auto routes = [&](const LayerWeights& layer) {
    return loss_.router != 0 && shards_.is_root() && layer.ffn.mixture();
  };
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    copy_values(hidden, states(before_[layer]));
    const LayerTape& tape = tapes_[recompute_ ? 0 : layer];
    layers_.fill_tape(weights.layers[layer], batch.offsets, tape, hidden);
    layers_.finish(weights.layers[layer], tape, hidden);
    if (routes(weights.layers[layer])) balance.add(*tape.routing);
  }
  fill_zero(d_hidden);
  const std::vector<float> each = token_weights(batch, weight);
  LossSums sums;
  double counted = 0;
  for (const float of_token : each) counted += of_token != 0 ? 1 : 0;
  if (loss_.router != 0) {
    sums.router = counted * balance.loss();
    if (!shards_.alone()) sums.router = shards_.ranks().broadcast_value(sums.router);
    sums.all += loss_.router * sums.router;
  }
  if (loss_.text != 0 || loss_.logits != 0)
    add_output_losses(weights, batch, each, reference, hidden, d_hidden, gradients, sums);
  for (std::size_t layer = weights.layers.size(); layer-- > 0;) {
    const bool last = layer + 1 == weights.layers.size();
    const LayerTape& tape = tapes_[recompute_ ? 0 : layer];
    const Tensor before = states(before_[layer]);
    if (loss_.hidden != 0) {
      add_hidden_loss(static_cast<std::int64_t>(layer), each, reference,
                      last ? hidden : states(before_[layer + 1]), d_hidden, sums);
    }
    if (!std::isfinite(sums.all)) return sums;
    if (recompute_ && !last) {
      copy_values(before, hidden);
      layers_.fill_tape(weights.layers[layer], batch.offsets, tape, hidden);
    }
    if (routes(weights.layers[layer]))  // on one of the shards, whose terms are added up
      tape.routing->d_probabilities =
          balance.gradient(*tape.routing, loss_.router * counted * static_cast<double>(weight));
    layers_.backward(weights.layers[layer], batch.offsets, tape, before, d_hidden, gradients.layer(layer));
  }
  if (!gradients.embedding().empty()) {
    embed_tokens_backward(context_, config_, shards_, batch.tokens, weights.embedding->dtype, d_hidden,
                          gradients.embedding());
  }
  return sums;
}

}  // namespace galapagos
