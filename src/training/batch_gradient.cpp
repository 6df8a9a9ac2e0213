#include <algorithm>
#include <cmath>
#include <utility>

#include <galapagos/model/embedding.hpp>
#include <galapagos/model/logit_tiles.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/tensor/memory_count.hpp>
#include <galapagos/training/batch_gradient.hpp>

namespace galapagos {
namespace {

/// Layers whose states are no longer there when the last one has run.
std::int64_t layers_to_keep(const HfConfig& config, std::span<const std::int64_t> compared) {
  return std::count_if(compared.begin(), compared.end(),
                       [&](std::int64_t layer) { return layer + 1 < config.layers; });
}

}  // namespace

Teacher::Teacher(const ops::Context& context, const ModelSource& source, std::int64_t most_tokens,
                 const Shards& shards, std::vector<std::int64_t> layers)
    : context_(context),
      shards_(shards),
      config_(source.config),
      weights_(load_model_weights(source)),
      layers_(std::move(layers)),
      buffers_(context, config_, most_tokens, static_cast<std::size_t>(1 + layers_to_keep(config_, layers_)),
               shards) {}

std::uint64_t Teacher::bytes(const ModelSource& source, std::int64_t most_tokens, Device device,
                             DType activations, std::span<const std::int64_t> layers) {
  const ops::Context context = ops::Context::planned(device, activations);
  const std::int64_t rest = head_parameters(source.config);
  return stage_weight_bytes(source.config, {0, source.config.layers}, source.precision) +
         static_cast<std::uint64_t>(rest) * size_of(source.precision) +
         activation_bytes(source.config, most_tokens, activations,
                          static_cast<std::size_t>(1 + layers_to_keep(source.config, layers))) +
         bytes_held(
             [&] { return logits_scratch(context, source.config, ops::logit_tile(device, most_tokens)); });
}

ReferenceAnswer Teacher::answer(const Batch& batch) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto states = [&](const OwnedTensor& tensor) { return tensor->view({tokens, config_.hidden_size}); };
  const Tensor hidden = states(buffers_.hidden[0]);
  embed_tokens(context_, config_, shards_, batch.tokens, weights_.embedding, hidden);
  ReferenceAnswer answer;
  for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    buffers_.layers.run(weights_.layers[layer], batch.offsets, hidden);
    const std::size_t place = answer.hidden.size();
    if (place == layers_.size() || layers_[place] != static_cast<std::int64_t>(layer)) continue;
    const bool last = layer + 1 == weights_.layers.size();  // nothing changes it any more
    answer.hidden.push_back(last ? hidden : states(buffers_.hidden[1 + place]));
    if (!last) copy_values(hidden, answer.hidden.back());
  }
  answer.logits = [this, hidden](std::int64_t first, const Tensor& logits) {
    compute_logits(context_, config_, weights_.norm, weights_.output(), hidden.slice(first, logits.rows()),
                   logits);
  };
  return answer;
}

std::optional<LossSums> add_gradients(TrainingPass& pass, const ModelWeights& weights,
                                      const TokenSet& sequences, std::int64_t batch_tokens, float weight,
                                      Teacher* teacher, const Gradients& gradients,
                                      const std::function<bool()>& stop) {
  LossSums sums;
  for (const Batch& batch : make_batches(sequences, batch_tokens)) {
    if (stop && stop()) return std::nullopt;
    const ReferenceAnswer reference = teacher != nullptr ? teacher->answer(batch) : ReferenceAnswer();
    sums += pass.run(weights, batch, weight, reference, gradients);
    if (!std::isfinite(sums.all)) return sums;
  }
  return sums;
}

namespace {

/// What the negative log-likelihoods of batches take.
struct NllBuffers {
  ForwardBuffers states;
  LogitBuffers tile;

  NllBuffers(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
             const Shards& shards)
      : states(context, config, most_tokens, 1, shards),
        tile(context, shards, ops::logit_tile(context.device()), config.vocab_size, false) {}
};

}  // namespace

std::uint64_t nll_bytes(const HfConfig& config, std::int64_t most_tokens, Device device, DType activations) {
  const ops::Context context = ops::Context::planned(device, activations);
  return bytes_held([&] { return NllBuffers(context, config, most_tokens, alone()); }) +
         bytes_held([&] { return logits_scratch(context, config, ops::logit_tile(device)); });
}

double sum_nll(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
               const TokenSet& sequences, std::int64_t batch_tokens, const Shards& shards) {
  const std::vector<Batch> batches = make_batches(sequences, batch_tokens);
  std::size_t most = 0;
  for (const Batch& batch : batches) most = std::max(most, batch.tokens.size());
  if (most == 0) return 0;
  NllBuffers buffers(context, config, static_cast<std::int64_t>(most), shards);
  double sum = 0;
  for (const Batch& batch : batches) {
    const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
    const Tensor hidden = buffers.states.hidden[0]->view({tokens, config.hidden_size});
    embed_tokens(context, config, shards, batch.tokens, weights.embedding, hidden);
    for (const LayerWeights& layer : weights.layers) buffers.states.layers.run(layer, batch.offsets, hidden);
    std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
    targets.push_back(0);
    std::vector<double> nll(batch.tokens.size());
    for_logit_tiles(context.device(), tokens, [&](std::int64_t first, std::int64_t count) {
      const Tensor logits = buffers.tile.logits->slice(0, count);
      compute_logits(context, config, weights.norm, weights.output(), hidden.slice(first, count), logits);
      buffers.tile.losses.nll(
          logits,
          std::span(targets).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
          std::span(nll).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
      return true;
    });
    const std::vector<float> counts = token_weights(batch, 1);
    for (std::size_t i = 0; i < nll.size(); ++i) sum += counts[i] == 0 ? 0 : nll[i];
  }
  return sum;
}

}  // namespace galapagos
