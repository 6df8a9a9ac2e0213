#include <algorithm>
#include <cmath>
#include <numbers>

#include <galapagos/model/forward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

const Tensor* bias_or_none(const OwnedTensor& bias) {
  return bias->empty() ? nullptr : &bias.view();
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

OwnedTensor rope_frequencies(const HfConfig& config, Device device) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    double frequency =
        std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope_scaling) {
      // Long wavelengths are stretched by `factor`, short ones kept, with a linear passage between them.
      const Llama3RopeScaling& scaling = *config.rope_scaling;
      const double turns =
          static_cast<double>(scaling.original_max_position_embeddings) * frequency / (2 * std::numbers::pi);
      const double share = std::clamp(
          (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
      frequency *= share + (1 - share) / scaling.factor;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  OwnedTensor tensor({config.head_dim / 2}, DType::f32, device, "rotary frequencies");
  copy_bytes(tensor->data, device, reinterpret_cast<const std::byte*>(frequencies.data()), Device::cpu,
             tensor->bytes());
  return tensor;
}

LayerForward::LayerForward(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      frequencies_(rope_frequencies(config, context.device())) {
  const auto activation = [&](std::int64_t width) {
    return OwnedTensor({most_tokens, width}, context.activations(), context.device(), "activations");
  };
  normed_ = activation(config.hidden_size);
  q_ = activation(config.heads * config.head_dim);
  mixed_ = activation(config.heads * config.head_dim);
  k_ = activation(config.kv_heads * config.head_dim);
  v_ = activation(config.kv_heads * config.head_dim);
  gate_ = activation(config.intermediate_size);
  up_ = activation(config.intermediate_size);
}

void LayerForward::run(const LayerWeights& weights, std::span<const std::int64_t> offsets,
                       const Tensor& hidden, const LayerTaps& taps) {
  attention(weights.attention, offsets, hidden, taps.attention_output);
  feed_forward(weights.ffn, hidden, taps.ffn_output);
}

void LayerForward::attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                             const Tensor& hidden, const std::function<void(const Tensor& input)>& tap) {
  if (!weights.present()) return;
  const std::int64_t tokens = hidden.rows(), head_dim = config_.head_dim;
  const std::int64_t q_width = weights.heads() * head_dim, kv_width = weights.kv_heads * head_dim;
  const Tensor normed = normed_->view({tokens, config_.hidden_size});
  const Tensor q = q_->view({tokens, q_width}), mixed = mixed_->view({tokens, q_width});
  const Tensor k = k_->view({tokens, kv_width}), v = v_->view({tokens, kv_width});
  if (weights.heads() == 0) return shards_.add_product(context_, mixed, weights.o, hidden);
  ops::rms_norm(context_, hidden, weights.norm, static_cast<float>(config_.rms_norm_eps), normed);
  {
    const ops::Factor x(normed);
    ops::linear(context_, x, weights.q, bias_or_none(weights.q_bias), q);
    ops::linear(context_, x, weights.k, bias_or_none(weights.k_bias), k);
    ops::linear(context_, x, weights.v, bias_or_none(weights.v_bias), v);
  }
  ops::rope(context_, q, k, head_dim, frequencies_, offsets);
  ops::attention(context_, q, k, v, head_dim, weights.kv_of_head, offsets, mixed);
  if (tap) tap(mixed);
  shards_.add_product(context_, mixed, weights.o, hidden);
}

void LayerForward::feed_forward(const FfnWeights& weights, const Tensor& hidden,
                                const std::function<void(const Tensor& input)>& tap) {
  if (!weights.present()) return;
  const std::int64_t tokens = hidden.rows(), columns = weights.columns;
  const Tensor normed = normed_->view({tokens, config_.hidden_size});
  const Tensor gate = gate_->view({tokens, columns}), up = up_->view({tokens, columns});
  if (columns == 0) return shards_.add_product(context_, gate, weights.down, hidden);
  ops::rms_norm(context_, hidden, weights.norm, static_cast<float>(config_.rms_norm_eps), normed);
  {
    const ops::Factor x(normed);
    ops::linear(context_, x, weights.gate, nullptr, gate);
    ops::linear(context_, x, weights.up, nullptr, up);
  }
  ops::swiglu(context_, gate, up, gate);
  if (tap) tap(gate);
  shards_.add_product(context_, gate, weights.down, hidden);
}

void compute_logits(const ops::Context& context, const HfConfig& config, const Tensor& norm,
                    const Tensor& head, const Tensor& hidden, const Tensor& logits) {
  const OwnedTensor normed(hidden.shape, context.activations(), context.device(), "normed hidden states");
  ops::rms_norm(context, hidden, norm, static_cast<float>(config.rms_norm_eps), normed);
  ops::linear(context, normed, head, nullptr, logits);
}

}  // namespace galapagos
