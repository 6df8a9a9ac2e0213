#include <algorithm>

#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/layer_pass.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/head_norm.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

OwnedTensor matrix(const ops::Context& context, std::int64_t tokens, std::int64_t width, DType type) {
  return OwnedTensor({tokens, width}, type, context.device(), "activations of training");
}

OwnedTensor activation(const ops::Context& context, std::int64_t tokens, std::int64_t width) {
  return matrix(context, tokens, width, context.activations());
}

Tensor rows(const OwnedTensor& tensor, std::int64_t count, std::int64_t width) {
  return tensor->view({count, width});
}

void add_weight_gradient(const ops::Context& context, const ops::Factor& d_y, const ops::Factor& x,
                         const Tensor& d_weight) {
  if (!d_weight.empty()) ops::linear_weight_gradient(context, d_y, x, d_weight);
}

void add_bias_gradient(const ops::Context& context, const Tensor& d_y, const Tensor& d_bias) {
  if (!d_bias.empty()) ops::bias_gradient(context, d_y, d_bias);
}

void add_projection_gradient(const ops::Context& context, const ops::Factor& d_y, const ops::Factor& x,
                             const Tensor& d_weight, const Tensor& d_bias) {
  ops::linear_weight_gradient(context, d_y, x, d_weight);
  add_bias_gradient(context, d_y.values(), d_bias);
}

}  // namespace

LayerWidths widest_layer(const HfConfig& config) {
  LayerWidths most;
  for (const LayerShape& shape : config.layer_shapes) {
    const LayerWidths own = LayerWidths::of(config, shape);
    most.heads = std::max(most.heads, own.heads);
    most.kv_heads = std::max(most.kv_heads, own.kv_heads);
    most.columns = std::max(most.columns, own.columns);
    most.experts = std::max(most.experts, own.experts);
  }
  return most;
}

LayerTape::LayerTape(const ops::Context& context, const HfConfig& config, const LayerWidths& widths,
                     std::int64_t most_tokens)
    : LayerBuffers(context, config, widths, most_tokens, true),
      log_sums(matrix(context, most_tokens, widths.heads, DType::f32)),
      between(matrix(context, most_tokens, config.hidden_size, DType::f32)) {}

LayerPass::LayerPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                     const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      steps_(context, config, most_tokens, shards),
      unused_({std::max(config.hidden_size, config.head_dim)}, DType::f32, context.device(),
              "gradients that nobody asks for") {
  const LayerWidths most = widest_layer(config);
  const auto of_width = [&](std::int64_t width) { return activation(context, most_tokens, width); };
  d_normed_ = matrix(context, most_tokens, config.hidden_size, DType::f32);  // what shards add up
  wide_ = of_width(most.columns);
  d_mixed_ = of_width(most.heads * config.head_dim);
  d_q_ = of_width(most.heads * config.head_dim);
  d_k_ = of_width(most.kv_heads * config.head_dim);
  d_v_ = of_width(most.kv_heads * config.head_dim);
  if (config.features.post_norms) d_output_ = matrix(context, most_tokens, config.hidden_size, DType::f32);
  fill_zero(unused_);
}

void LayerPass::fill_tape(const LayerWeights& weights, std::span<const std::int64_t> offsets,
                          const LayerTape& tape, const Tensor& hidden) {
  const std::int64_t tokens = hidden.rows();
  steps_.attention(weights.attention, offsets, hidden, tape,
                   rows(tape.log_sums, tokens, weights.attention.heads()));
  copy_values(hidden, rows(tape.between, tokens, config_.hidden_size));
  refill_tape(weights, tape, tokens);
  if (config_.features.post_norms && weights.ffn.present()) {
    const Tensor active = steps_.activate(weights.ffn, tape, tokens, wide_);
    steps_.put_out(active, weights.ffn.down, weights.ffn.down_bias, tape.output_of_ffn(tokens));
  }
}

void LayerPass::refill_tape(const LayerWeights& weights, const LayerTape& tape, std::int64_t tokens) {
  steps_.gate_and_up(weights.ffn, rows(tape.between, tokens, config_.hidden_size), tape);
}

void LayerPass::finish(const LayerWeights& weights, const LayerTape& tape, const Tensor& hidden) {
  if (!weights.ffn.present()) return;
  if (config_.features.post_norms)
    return steps_.add_norm(tape.output_of_ffn(hidden.rows()), weights.ffn.post_norm, hidden);
  steps_.add_ffn_output(weights.ffn, tape, steps_.activate(weights.ffn, tape, hidden.rows(), wide_), hidden);
}

/// Of a half layer that begins with a norm of x: goes on from this shard's gradient by the norm's output, in
/// d_normed_, to that by x. `meanwhile` is computed while the shards' gradients are summed.
void LayerPass::finish_backward(const Tensor& x, const Tensor& norm, const Tensor& d_hidden,
                                const Tensor& d_norm, const std::function<void()>& meanwhile) {
  const Tensor d_normed = rows(d_normed_, x.rows(), config_.hidden_size);
  const Shards::SumGuard guard(shards_);
  shards_.start_sum(d_normed);
  meanwhile();
  shards_.finish_sum();
  ops::rms_norm_backward(context_, x, norm, norm_rule(config_), d_normed, d_hidden, or_unused(d_norm));
}

/// The gradient by what a part puts out, from that by what it adds to the hidden states: the same, but where
/// a norm lies between the two.
Tensor LayerPass::by_output(const Tensor& output, const Tensor& post_norm, const Tensor& d_hidden,
                            const Tensor& d_post_norm) {
  if (post_norm.empty()) return d_hidden;
  const Tensor d_output = rows(d_output_, d_hidden.rows(), config_.hidden_size);
  fill_zero(d_output);
  ops::rms_norm_backward(context_, output, post_norm, norm_rule(config_), d_hidden, d_output,
                         or_unused(d_post_norm));
  return d_output;
}

void LayerPass::backward_ffn(const FfnWeights& weights, const LayerTape& tape, const Tensor& d_out,
                             const Tensor& d_hidden, const FfnTensors<Tensor>& gradients) {
  const std::int64_t tokens = d_hidden.rows(), columns = weights.columns;
  const Tensor gate = rows(tape.gate, tokens, columns), up = rows(tape.up, tokens, columns);
  const Tensor active = steps_.activate(weights, tape, tokens, wide_);
  const Tensor& d_active = active;
  {
    const ops::Factor d_output(d_out);
    add_weight_gradient(context_, d_output, active, gradients.down);
    ops::linear_input_gradient(context_, d_output, weights.down, d_active);
  }
  ops::swiglu_backward(context_, d_active, gate, up, gate_kind(config_));
  const ops::Factor d_gate(gate), d_up(up);
  const Tensor between = rows(tape.between, tokens, config_.hidden_size);
  const Tensor d_normed = rows(d_normed_, tokens, config_.hidden_size);
  ops::linear_input_gradient(context_, d_gate, weights.gate, d_normed);
  ops::linear_input_gradient(context_, d_up, weights.up, d_normed, true);
  finish_backward(between, weights.input_norm(), d_hidden, gradients.input_norm(), [&] {
    if (gradients.gate.empty()) return;
    const ops::Factor normed(steps_.normed_of(between, weights.input_norm()));
    add_projection_gradient(context_, d_gate, normed, gradients.gate, gradients.gate_bias);
    add_projection_gradient(context_, d_up, normed, gradients.up, gradients.up_bias);
  });
}

void LayerPass::backward_mixture(const FfnWeights& weights, const LayerTape& tape, const Tensor& d_out,
                                 const Tensor& d_hidden, const LayerGradients& gradients) {
  const std::int64_t tokens = d_hidden.rows();
  const Tensor active = steps_.activate(weights, tape, tokens, wide_);
  const Tensor between = rows(tape.between, tokens, config_.hidden_size);
  const MixtureSteps::Backward state{weights, *tape.routing, tape.gate, tape.up};
  steps_.mixture().backward(state, d_out, active, rows(d_normed_, tokens, config_.hidden_size), gradients);
  finish_backward(between, weights.input_norm(), d_hidden, gradients.ffn.input_norm(), [&] {
    if (gradients.ffn.router.empty()) return;
    steps_.mixture().add_weight_gradients(state, steps_.normed_of(between, weights.input_norm()), gradients);
  });
}

void LayerPass::backward_attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                                   const LayerTape& tape, const Tensor& before, const Tensor& d_out,
                                   const Tensor& d_hidden, const AttentionTensors<Tensor>& gradients) {
  const std::int64_t tokens = d_hidden.rows(), q_width = weights.heads() * config_.head_dim;
  const std::int64_t kv_width = weights.kv_heads * config_.head_dim;
  const Tensor q = rows(tape.q, tokens, q_width), k = rows(tape.k, tokens, kv_width);
  const Tensor v = rows(tape.v, tokens, kv_width), mixed = rows(tape.mixed, tokens, q_width);
  const Tensor d_mixed = rows(d_mixed_, tokens, q_width), d_q = rows(d_q_, tokens, q_width);
  const Tensor d_k = rows(d_k_, tokens, kv_width), d_v = rows(d_v_, tokens, kv_width);
  {
    const ops::Factor d_output(d_out);
    add_weight_gradient(context_, d_output, mixed, gradients.o);
    ops::linear_input_gradient(context_, d_output, weights.o, d_mixed);
  }
  ops::attention_backward(context_, q, k, v, config_.head_dim, weights.kv_of_head, offsets, mixed,
                          rows(tape.log_sums, tokens, weights.heads()), d_mixed, d_q, d_k, d_v,
                          attention_rule(config_, weights.kind));
  if (const Rope* rope = steps_.rope_of(weights.kind)) rope->turn_back(context_, d_q, d_k, offsets);
  if (config_.features.qk_norm) {
    const ops::NormRule rule = norm_rule(config_);
    ops::head_norm_backward(context_, rows(tape.q_in, tokens, q_width), weights.q_norm, rule, d_q,
                            or_unused(gradients.q_norm));
    ops::head_norm_backward(context_, rows(tape.k_in, tokens, kv_width), weights.k_norm, rule, d_k,
                            or_unused(gradients.k_norm));
  }
  const Tensor d_normed = rows(d_normed_, tokens, config_.hidden_size);
  const ops::Factor by_q(d_q), by_k(d_k), by_v(d_v);
  ops::linear_input_gradient(context_, by_q, weights.q, d_normed);
  ops::linear_input_gradient(context_, by_k, weights.k, d_normed, true);
  ops::linear_input_gradient(context_, by_v, weights.v, d_normed, true);
  finish_backward(before, weights.norm, d_hidden, gradients.norm, [&] {
    if (gradients.q.empty()) return;
    const ops::Factor normed(steps_.normed_of(before, weights.norm));
    add_projection_gradient(context_, by_q, normed, gradients.q, gradients.q_bias);
    add_projection_gradient(context_, by_k, normed, gradients.k, gradients.k_bias);
    add_projection_gradient(context_, by_v, normed, gradients.v, gradients.v_bias);
  });
}

void LayerPass::backward(const LayerWeights& weights, std::span<const std::int64_t> offsets,
                         const LayerTape& tape, const Tensor& before, const Tensor& d_hidden,
                         const LayerGradients& gradients, const GradientTaps& taps) {
  // A shard without heads or columns where others have some only takes part in their sum.
  const auto only_sum = [&](const Tensor& x, const Tensor& norm, const Tensor& d_norm) {
    fill_zero(rows(d_normed_, x.rows(), config_.hidden_size));
    finish_backward(x, norm, d_hidden, d_norm, [] {});
  };
  const std::int64_t tokens = d_hidden.rows();
  const Tensor by_down =
      by_output(tape.output_of_ffn(tokens), weights.ffn.post_norm, d_hidden, gradients.ffn.post_norm);
  if (taps.ffn) taps.ffn(by_down);
  add_bias_gradient(context_, by_down, gradients.ffn.down_bias);  // the same on all shards
  const bool of_router =
      !tape.routing->d_probabilities.empty();  // asked of the root, which may have no columns
  if (weights.ffn.mixture() && (weights.ffn.columns > 0 || of_router)) {
    backward_mixture(weights.ffn, tape, by_down, d_hidden, gradients);
  } else if (weights.ffn.columns > 0) {
    backward_ffn(weights.ffn, tape, by_down, d_hidden, gradients.ffn);
  } else if (weights.ffn.present()) {
    only_sum(rows(tape.between, tokens, config_.hidden_size), weights.ffn.input_norm(),
             gradients.ffn.input_norm());
  }
  const Tensor by_o = by_output(tape.output_of_attention(tokens), weights.attention.post_norm, d_hidden,
                                gradients.attention.post_norm);
  if (taps.attention) taps.attention(by_o);
  add_bias_gradient(context_, by_o, gradients.attention.o_bias);
  if (weights.attention.heads() > 0) {
    backward_attention(weights.attention, offsets, tape, before, by_o, d_hidden, gradients.attention);
  } else if (weights.attention.present()) {
    only_sum(before, weights.attention.norm, gradients.attention.norm);
  }
}

}  // namespace galapagos
