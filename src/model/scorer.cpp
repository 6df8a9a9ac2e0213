#include "scorer.hpp"

#include <algorithm>

namespace galapagos {
namespace {

/// Tokens for which logits are made at a time: on a GPU each time reads the whole head.
std::int64_t logit_rows(Device device) {
  return device == Device::cpu ? 128 : 1024;
}

}  // namespace

Scorer::Scorer(const ops::Context& context, const Models& models, const Shards& shards)
    : context_(context),
      models_(models),
      rows_(logit_rows(context.device())),
      logits_({rows_, models[0]->config.vocab_size}, DType::f32, context.device(), "logits"),
      losses_(context, shards, rows_, models[0]->config.vocab_size, models.size() > 1) {
  for (const ModelSource* model : models) heads_.push_back(model->head());
}

std::uint64_t Scorer::bytes(const Models& models, Device device) {
  const std::int64_t rows = logit_rows(device);
  std::uint64_t bytes = 0;
  for (const ModelSource* model : models) {
    bytes += static_cast<std::uint64_t>(embedding_parameters(model->config)) * size_of(model->precision) +
             static_cast<std::uint64_t>(rows * (model->config.vocab_size + model->config.hidden_size)) *
                 sizeof(float);
  }
  return bytes;
}

std::vector<SequenceScore> Scorer::score(const Batch& batch, std::span<const Tensor> hidden,
                                         std::span<const std::int64_t> unscored) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto size = batch.tokens.size();
  const bool compare = models_.size() > 1;
  std::vector<double> nll(size), kl(size, 0.0);
  std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end()), likely(size), wanted(size);
  targets.push_back(0);  // the last token predicts nothing; nor does the last of any sequence, left out below
  for (std::int64_t first = 0; first < tokens; first += rows_) {
    const std::int64_t rows = std::min(rows_, tokens - first);
    const auto at = static_cast<std::size_t>(first), count = static_cast<std::size_t>(rows);
    const auto fill = [&](std::size_t model, const Tensor& logits) {
      compute_logits(context_, models_[model]->config, heads_[model], hidden[model].slice(first, rows),
                     logits);
    };
    const Tensor logits = logits_->slice(0, rows);
    fill(0, logits);
    losses_.nll(logits, std::span(targets).subspan(at, count), std::span(nll).subspan(at, count));
    losses_.arg_max(logits, std::span(likely).subspan(at, count));
    if (!compare) continue;
    fill(1, losses_.reference(rows));
    losses_.take_reference(rows);
    losses_.divergence(logits, std::span(kl).subspan(at, count));
    losses_.arg_max(losses_.reference(rows), std::span(wanted).subspan(at, count));
  }
  std::vector<SequenceScore> scores;
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    SequenceScore score;
    for (std::int64_t i = batch.offsets[s] + unscored[s] - 1; i + 1 < batch.offsets[s + 1]; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ++score.predicted;
      score.nll += nll[at];
      score.greedy += likely[at] == targets[at] ? 1 : 0;
      score.kl += kl[at];
      score.agreed += compare && likely[at] == wanted[at] ? 1 : 0;
    }
    scores.push_back(score);
  }
  return scores;
}

}  // namespace galapagos
