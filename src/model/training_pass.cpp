#include <algorithm>
#include <cmath>
#include <limits>

#include <galapagos/model/training_pass.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t logit_rows = 256;  // logits are made for this many tokens at a time

/// The widest parts of any layer.
LayerShape widest(const HfConfig& config) {
  LayerShape most;
  for (const LayerShape& shape : config.layer_shapes) {
    most.kv_heads = std::max(most.kv_heads, shape.kv_heads);
    if (shape.heads() > most.heads()) most.kv_of_head = shape.kv_of_head;
    most.columns = std::max(most.columns, shape.columns);
  }
  return most;
}

/// Floats per token that a tape keeps of a layer.
std::int64_t tape_width(const HfConfig& config, const LayerShape& shape) {
  return (2 * shape.heads() + 2 * shape.kv_heads) * config.head_dim + shape.heads() + config.hidden_size +
         2 * shape.columns;
}

void copy(const Tensor& from, const Tensor& to) {
  copy_bytes(to.data, to.device, from.data, from.device, from.bytes());
}

const Tensor* bias_or_none(const OwnedTensor& bias) {
  return bias->empty() ? nullptr : &bias.view();
}

Tensor rows(const OwnedTensor& tensor, std::int64_t count, std::int64_t width) {
  return tensor->view({count, width});
}

}  // namespace

std::int64_t predicted_tokens(std::span<const std::int64_t> offsets) {
  std::int64_t predicted = 0;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
    predicted += std::max<std::int64_t>(offsets[s + 1] - offsets[s] - 1, 0);
  return predicted;
}

std::uint64_t TrainingPass::bytes(const HfConfig& config, std::int64_t most_tokens, bool recompute) {
  const LayerShape most = widest(config);
  std::int64_t width = (config.layers + 4) * config.hidden_size + most.columns +
                       (2 * most.heads() + 2 * most.kv_heads) * config.head_dim;
  if (recompute) {
    width += tape_width(config, most);
  } else {
    for (const LayerShape& shape : config.layer_shapes) width += tape_width(config, shape);
  }
  const std::int64_t some = std::min(logit_rows, most_tokens);
  return static_cast<std::uint64_t>(most_tokens * width + some * config.vocab_size) * sizeof(float) +
         LogitLosses::bytes(some, config.vocab_size, true);
}

TrainingPass::TrainingPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                           bool recompute, const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      recompute_(recompute),
      frequencies_(rope_frequencies(config, context.device())),
      losses_(context, shards, std::min(logit_rows, most_tokens), config.vocab_size, true) {
  const auto matrix = [&](std::int64_t tokens, std::int64_t width) {
    return OwnedTensor({tokens, width}, DType::f32, context.device(), "activations of training");
  };
  const auto tape_of = [&](const LayerShape& shape) {
    const std::int64_t q_width = shape.heads() * config.head_dim, kv_width = shape.kv_heads * config.head_dim;
    Tape tape;
    tape.q = matrix(most_tokens, q_width);
    tape.k = matrix(most_tokens, kv_width);
    tape.v = matrix(most_tokens, kv_width);
    tape.mixed = matrix(most_tokens, q_width);
    tape.log_sums = matrix(most_tokens, shape.heads());
    tape.between = matrix(most_tokens, config.hidden_size);
    tape.gate = matrix(most_tokens, shape.columns);
    tape.up = matrix(most_tokens, shape.columns);
    return tape;
  };
  const LayerShape most = widest(config);
  for (const LayerShape& shape : config.layer_shapes) {
    before_.push_back(matrix(most_tokens, config.hidden_size));
    if (!recompute) tapes_.push_back(tape_of(shape));
  }
  if (recompute) tapes_.push_back(tape_of(most));
  for (OwnedTensor* tensor : {&hidden_, &d_hidden_, &normed_, &d_normed_})
    *tensor = matrix(most_tokens, config.hidden_size);
  wide_ = matrix(most_tokens, most.columns);
  d_mixed_ = matrix(most_tokens, most.heads() * config.head_dim);
  d_q_ = matrix(most_tokens, most.heads() * config.head_dim);
  d_k_ = matrix(most_tokens, most.kv_heads * config.head_dim);
  d_v_ = matrix(most_tokens, most.kv_heads * config.head_dim);
  logits_ = matrix(std::min(logit_rows, most_tokens), config.vocab_size);
}

Tensor TrainingPass::normed_of(const Tensor& x, const Tensor& weight) {
  const Tensor normed = rows(normed_, x.rows(), config_.hidden_size);
  ops::rms_norm(context_, x, weight, static_cast<float>(config_.rms_norm_eps), normed);
  return normed;
}

void TrainingPass::fill_tape(const LayerWeights& weights, std::span<const std::int64_t> offsets,
                             const Tape& tape, const Tensor& hidden) {
  const std::int64_t tokens = hidden.rows();
  const AttentionWeights& attention = weights.attention;
  if (attention.heads() > 0) {
    const std::int64_t q_width = attention.heads() * config_.head_dim;
    const std::int64_t kv_width = attention.kv_heads * config_.head_dim;
    const Tensor q = rows(tape.q, tokens, q_width), k = rows(tape.k, tokens, kv_width);
    const Tensor v = rows(tape.v, tokens, kv_width), mixed = rows(tape.mixed, tokens, q_width);
    const ops::Factor normed(normed_of(hidden, attention.norm));
    ops::linear(context_, normed, attention.q, bias_or_none(attention.q_bias), q);
    ops::linear(context_, normed, attention.k, bias_or_none(attention.k_bias), k);
    ops::linear(context_, normed, attention.v, bias_or_none(attention.v_bias), v);
    ops::rope(context_, q, config_.head_dim, frequencies_, offsets);
    ops::rope(context_, k, config_.head_dim, frequencies_, offsets);
    ops::attention(context_, q, k, v, config_.head_dim, attention.kv_of_head, offsets, mixed,
                   rows(tape.log_sums, tokens, attention.heads()));
    shards_.add_product(context_, mixed, attention.o, hidden);
  } else if (attention.present()) {
    shards_.add_product(context_, hidden, attention.o, hidden);
  }
  const FfnWeights& ffn = weights.ffn;
  copy(hidden, rows(tape.between, tokens, config_.hidden_size));
  if (ffn.columns == 0) return;
  const ops::Factor normed(normed_of(hidden, ffn.norm));
  ops::linear(context_, normed, ffn.gate, nullptr, rows(tape.gate, tokens, ffn.columns));
  ops::linear(context_, normed, ffn.up, nullptr, rows(tape.up, tokens, ffn.columns));
}

Tensor TrainingPass::activate(const FfnWeights& weights, const Tape& tape, std::int64_t tokens) {
  const Tensor active = rows(wide_, tokens, weights.columns);
  copy(rows(tape.gate, tokens, weights.columns), active);
  ops::swiglu(context_, active, rows(tape.up, tokens, weights.columns));
  return active;
}

/// Of a half layer that begins with a norm of x: goes on from this shard's gradient by the norm's output, in
/// d_normed_, to that by x. `meanwhile` is computed while the shards' gradients are summed.
void TrainingPass::finish_backward(const Tensor& x, const Tensor& norm, const Tensor& d_hidden,
                                   const Tensor& d_norm, const std::function<void()>& meanwhile) {
  const Tensor d_normed = rows(d_normed_, x.rows(), config_.hidden_size);
  shards_.start_sum(d_normed);
  meanwhile();
  shards_.finish_sum();
  ops::rms_norm_backward(context_, x, norm, static_cast<float>(config_.rms_norm_eps), d_normed, d_hidden,
                         d_norm);
}

void TrainingPass::backward_ffn(const FfnWeights& weights, const Tape& tape, const Tensor& d_hidden,
                                const LayerGradients& gradients) {
  const std::int64_t tokens = d_hidden.rows(), columns = weights.columns;
  const Tensor gate = rows(tape.gate, tokens, columns), up = rows(tape.up, tokens, columns);
  const Tensor active = activate(weights, tape, tokens);
  const Tensor& d_active = active;
  {
    const ops::Factor d_output(d_hidden);
    ops::linear_weight_gradient(context_, d_output, active, gradients.down);
    ops::linear_input_gradient(context_, d_output, weights.down, d_active);
  }
  ops::swiglu_backward(context_, d_active, gate, up);
  const ops::Factor d_gate(gate), d_up(up);
  const Tensor between = rows(tape.between, tokens, config_.hidden_size);
  const Tensor d_normed = rows(d_normed_, tokens, config_.hidden_size);
  ops::linear_input_gradient(context_, d_gate, weights.gate, d_normed);
  ops::linear_input_gradient(context_, d_up, weights.up, d_normed, true);
  finish_backward(between, weights.norm, d_hidden, gradients.ffn_norm, [&] {
    const ops::Factor normed(normed_of(between, weights.norm));
    ops::linear_weight_gradient(context_, d_gate, normed, gradients.gate);
    ops::linear_weight_gradient(context_, d_up, normed, gradients.up);
  });
}

void TrainingPass::backward_attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                                      const Tape& tape, const Tensor& before, const Tensor& d_hidden,
                                      const LayerGradients& gradients) {
  const std::int64_t tokens = d_hidden.rows(), q_width = weights.heads() * config_.head_dim;
  const std::int64_t kv_width = weights.kv_heads * config_.head_dim;
  const Tensor q = rows(tape.q, tokens, q_width), k = rows(tape.k, tokens, kv_width);
  const Tensor v = rows(tape.v, tokens, kv_width), mixed = rows(tape.mixed, tokens, q_width);
  const Tensor d_mixed = rows(d_mixed_, tokens, q_width), d_q = rows(d_q_, tokens, q_width);
  const Tensor d_k = rows(d_k_, tokens, kv_width), d_v = rows(d_v_, tokens, kv_width);
  {
    const ops::Factor d_output(d_hidden);
    ops::linear_weight_gradient(context_, d_output, mixed, gradients.o);
    ops::linear_input_gradient(context_, d_output, weights.o, d_mixed);
  }
  ops::attention_backward(context_, q, k, v, config_.head_dim, weights.kv_of_head, offsets, mixed,
                          rows(tape.log_sums, tokens, weights.heads()), d_mixed, d_q, d_k, d_v);
  ops::rope_backward(context_, d_q, config_.head_dim, frequencies_, offsets);
  ops::rope_backward(context_, d_k, config_.head_dim, frequencies_, offsets);
  const Tensor d_normed = rows(d_normed_, tokens, config_.hidden_size);
  const ops::Factor by_q(d_q), by_k(d_k), by_v(d_v);
  ops::linear_input_gradient(context_, by_q, weights.q, d_normed);
  ops::linear_input_gradient(context_, by_k, weights.k, d_normed, true);
  ops::linear_input_gradient(context_, by_v, weights.v, d_normed, true);
  finish_backward(before, weights.norm, d_hidden, gradients.attention_norm, [&] {
    const ops::Factor normed(normed_of(before, weights.norm));
    const auto projection = [&](const ops::Factor& d_y, const Tensor& d_weight, const Tensor& d_bias) {
      ops::linear_weight_gradient(context_, d_y, normed, d_weight);
      if (!d_bias.empty()) ops::bias_gradient(context_, d_y.values(), d_bias);
    };
    projection(by_q, gradients.q, gradients.q_bias);
    projection(by_k, gradients.k, gradients.k_bias);
    projection(by_v, gradients.v, gradients.v_bias);
  });
}

void TrainingPass::backward(const LayerWeights& weights, std::span<const std::int64_t> offsets,
                            const Tape& tape, const Tensor& before, const Tensor& d_hidden,
                            const LayerGradients& gradients) {
  // A shard without heads or columns where others have some only takes part in their sum.
  const auto only_sum = [&](const Tensor& x, const Tensor& norm, const Tensor& d_norm) {
    fill_zero(rows(d_normed_, x.rows(), config_.hidden_size));
    finish_backward(x, norm, d_hidden, d_norm, [] {});
  };
  if (weights.ffn.columns > 0) {
    backward_ffn(weights.ffn, tape, d_hidden, gradients);
  } else if (weights.ffn.present()) {
    only_sum(rows(tape.between, d_hidden.rows(), config_.hidden_size), weights.ffn.norm, gradients.ffn_norm);
  }
  if (weights.attention.heads() > 0) {
    backward_attention(weights.attention, offsets, tape, before, d_hidden, gradients);
  } else if (weights.attention.present()) {
    only_sum(before, weights.attention.norm, gradients.attention_norm);
  }
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
  std::vector<double> losses(static_cast<std::size_t>(std::min(logit_rows, tokens)));
  double sum = 0;
  for (std::int64_t first = 0; first < tokens; first += logit_rows) {
    const std::int64_t count = std::min(logit_rows, tokens - first);
    const auto at = static_cast<std::size_t>(first), some = static_cast<std::size_t>(count);
    const Tensor states = hidden.slice(first, count), logits = logits_->slice(0, count);
    const std::span<const float> weights_of = std::span(each).subspan(at, some);
    const std::span<const std::int32_t> targets_of = std::span(targets).subspan(at, some);
    const ops::Factor normed(normed_of(states, weights.norm));
    ops::linear(context_, normed, weights.output(), nullptr, logits);
    const std::span<double> found = std::span(losses).first(some);
    if (reference) {
      reference(first, losses_.reference(count));
      losses_.take_reference(count);
      losses_.divergence(logits, found);
    } else {
      losses_.nll(logits, targets_of, found);
    }
    for (std::size_t i = 0; i < some; ++i) sum += weights_of[i] == 0 ? 0 : found[i];
    if (!std::isfinite(sum)) return sum;
    if (reference) {
      losses_.divergence_backward(weights_of, logits);
    } else {
      losses_.nll_backward(targets_of, weights_of, logits);
    }
    const ops::Factor d_logits(logits);
    ops::linear_input_gradient(context_, d_logits, weights.output(),
                               rows(d_normed_, count, config_.hidden_size));
    finish_backward(states, weights.norm, d_hidden.slice(first, count), gradients.norm(),
                    [&] { ops::linear_weight_gradient(context_, d_logits, normed, gradients.output()); });
  }
  return sum;
}

double TrainingPass::run(const ModelWeights& weights, const Batch& batch, float weight,
                         const ReferenceLogits& reference, const Gradients& gradients) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto states = [&](const OwnedTensor& tensor) { return rows(tensor, tokens, config_.hidden_size); };
  const Tensor hidden = states(hidden_), d_hidden = states(d_hidden_);
  embed_tokens(context_, shards_, batch.tokens, weights.embedding, hidden);
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    copy(hidden, states(before_[layer]));
    const LayerWeights& of = weights.layers[layer];
    const Tape& tape = tapes_[recompute_ ? 0 : layer];
    fill_tape(of, batch.offsets, tape, hidden);
    if (of.ffn.present()) {
      const Tensor active = of.ffn.columns > 0 ? activate(of.ffn, tape, tokens) : hidden;
      shards_.add_product(context_, active, of.ffn.down, hidden);
    }
  }
  fill_zero(d_hidden);
  const double sum = loss(weights, batch, weight, reference, hidden, d_hidden, gradients);
  if (!std::isfinite(sum)) return sum;
  for (std::size_t layer = weights.layers.size(); layer-- > 0;) {
    const Tape& tape = tapes_[recompute_ ? 0 : layer];
    const Tensor before = states(before_[layer]);
    if (recompute_ && layer + 1 < weights.layers.size()) {
      copy(before, hidden);
      fill_tape(weights.layers[layer], batch.offsets, tape, hidden);
    }
    backward(weights.layers[layer], batch.offsets, tape, before, d_hidden, gradients.layer(layer));
  }
  ops::embed_backward(context_, batch.tokens, d_hidden, gradients.embedding(), shards_.first_id());
  return sum;
}

}  // namespace galapagos
