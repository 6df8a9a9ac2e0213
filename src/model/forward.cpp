#include <algorithm>

#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/soft_cap.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

/// As the unpruned model, or a shard's part of it.
LayerWidths widest(const HfConfig& config) {
  std::int64_t columns = config.intermediate_size;
  if (config.mixture)
    columns = std::max(columns, config.mixture->experts_per_token * config.mixture->expert_size);
  return {config.heads, config.kv_heads, columns, config.mixture ? config.mixture->experts : 0};
}

}  // namespace

std::vector<Batch> make_batches(std::span<const std::int32_t> tokens, std::span<const std::uint64_t> offsets,
                                std::int64_t most_tokens) {
  std::vector<Batch> batches;
  std::size_t first = 0;
  while (first + 1 < offsets.size()) {
    const std::uint64_t begin = offsets[first];
    std::size_t last = first + 1;
    while (last + 1 < offsets.size() && offsets[last + 1] - begin <= static_cast<std::uint64_t>(most_tokens))
      ++last;
    Batch batch;
    batch.tokens = tokens.subspan(begin, offsets[last] - begin);
    for (std::size_t s = first; s <= last; ++s)
      batch.offsets.push_back(static_cast<std::int64_t>(offsets[s] - begin));
    batches.push_back(std::move(batch));
    first = last;
  }
  return batches;
}

std::vector<Batch> make_batches(const TokenSet& sequences, std::int64_t most_tokens) {
  std::vector<Batch> batches = make_batches(sequences.tokens, sequences.offsets, most_tokens);
  if (sequences.in_loss.empty()) return batches;
  std::size_t first = 0;
  for (Batch& batch : batches) {
    batch.in_loss = std::span(sequences.in_loss).subspan(first, batch.tokens.size());
    first += batch.tokens.size();
  }
  return batches;
}

OwnedTensor hidden_states(const ops::Context& context, const HfConfig& config, std::int64_t tokens) {
  return {{tokens, config.hidden_size}, DType::f32, context.device(), "hidden states"};
}

LayerForward::LayerForward(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           const Shards& shards)
    : context_(context),
      shards_(shards),
      steps_(context, config, most_tokens, shards),
      buffers_(context, config, widest(config), most_tokens) {}

void LayerForward::run(const LayerWeights& weights, std::span<const std::int64_t> offsets,
                       const Tensor& hidden, const LayerTaps& taps) {
  attention(weights.attention, offsets, hidden, taps.attention_output);
  feed_forward(weights.ffn, hidden, taps.ffn_output, taps.expert_input, taps.expert_output);
}

void LayerForward::run(const LayerWeights& weights, const CachedLayer& cached, const Tensor& hidden) {
  steps_.attention(weights.attention, cached, hidden, buffers_);
  feed_forward(weights.ffn, hidden);
}

void LayerForward::attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                             const Tensor& hidden, const std::function<void(const Tensor& input)>& tap) {
  steps_.attention(weights, offsets, hidden, buffers_, {}, tap);
}

void LayerForward::feed_forward(const FfnWeights& weights, const Tensor& hidden,
                                const std::function<void(const Tensor& input)>& tap,
                                const ExpertTap& expert_tap, const ExpertTap& output_tap) {
  if (!weights.present()) return;
  steps_.gate_and_up(weights, hidden, buffers_);
  const Tensor active = steps_.activate(weights, buffers_, hidden.rows(), buffers_.gate, tap, expert_tap);
  steps_.add_ffn_output(weights, buffers_, active, hidden, output_tap);
}

OwnedTensor logits_scratch(const ops::Context& context, const HfConfig& config, std::int64_t tokens) {
  return {{tokens, config.hidden_size}, context.activations(), context.device(), "normed hidden states"};
}

void head_logits(const ops::Context& context, const HfConfig& config, const ops::Factor& normed,
                 const Tensor& head, const Tensor& logits) {
  ops::linear(context, normed, head, nullptr, logits);
  if (config.logit_cap != 0) ops::soft_cap(context, logits, static_cast<float>(config.logit_cap));
}

void compute_logits(const ops::Context& context, const HfConfig& config, const Tensor& norm,
                    const Tensor& head, const Tensor& hidden, const Tensor& logits) {
  const OwnedTensor normed = logits_scratch(context, config, hidden.rows());
  ops::rms_norm(context, hidden, norm, norm_rule(config), normed);
  head_logits(context, config, normed->view(normed->shape), head, logits);
}

}  // namespace galapagos
