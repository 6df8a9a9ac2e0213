#include "scorer.hpp"

#include <galapagos/model/logit_tiles.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {
Scorer::Scorer(const ops::Context& context, const Models& models, const Shards& shards)
    : context_(context),
      models_(models),
      buffers_(context, shards, ops::logit_tile(context.device()), models[0]->config.vocab_size,
               models.size() > 1) {
  for (const ModelSource* model : models) heads_.push_back(model->head());
}

std::uint64_t Scorer::bytes(const Models& models, Device device, DType activations) {
  const ops::Context context = ops::Context::planned(device, activations);
  const HfConfig& config = models[0]->config;
  const std::int64_t rows = ops::logit_tile(device);
  std::uint64_t bytes =
      bytes_held([&] { return LogitBuffers(context, alone(), rows, config.vocab_size, models.size() > 1); }) +
      bytes_held([&] { return logits_scratch(context, config, rows); });
  for (const ModelSource* model : models)  // a tied head is a copy
    bytes += static_cast<std::uint64_t>(embedding_parameters(model->config)) * size_of(model->precision);
  return bytes;
}

std::vector<SequenceScore> Scorer::score(const Batch& batch, std::span<const Tensor> hidden,
                                         std::span<const std::int64_t> unscored) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto size = batch.tokens.size();
  const bool compare = models_.size() > 1;
  LogitLosses& losses = buffers_.losses;
  std::vector<double> nll(size), kl(size, 0.0);
  std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end()), likely(size), wanted(size);
  targets.push_back(0);  // the last token predicts nothing; nor does the last of any sequence, left out below
  for_logit_tiles(context_.device(), tokens, [&](std::int64_t first, std::int64_t rows) {
    const auto at = static_cast<std::size_t>(first), count = static_cast<std::size_t>(rows);
    const auto fill = [&](std::size_t model, const Tensor& logits) {
      compute_logits(context_, models_[model]->config, heads_[model], hidden[model].slice(first, rows),
                     logits);
    };
    const Tensor logits = buffers_.logits->slice(0, rows);
    fill(0, logits);
    losses.nll(logits, std::span(targets).subspan(at, count), std::span(nll).subspan(at, count));
    losses.arg_max(logits, std::span(likely).subspan(at, count));
    if (!compare) return true;
    fill(1, losses.reference(rows));
    losses.take_reference(rows);
    losses.divergence(logits, std::span(kl).subspan(at, count));
    losses.arg_max(losses.reference(rows), std::span(wanted).subspan(at, count));
    return true;
  });
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
