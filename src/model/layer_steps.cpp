#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/layer_steps.hpp>
#include <galapagos/ops/head_norm.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

const Tensor* bias_or_none(const OwnedTensor& bias) {
  return bias->empty() ? nullptr : &bias.view();
}

}  // namespace

LayerBuffers::LayerBuffers(const ops::Context& context, const HfConfig& config, const LayerWidths& widths,
                           std::int64_t most_tokens, bool for_backward) {
  const auto activation = [&](std::int64_t width) {
    return OwnedTensor({most_tokens, width}, context.activations(), context.device(), "activations");
  };
  q = activation(widths.heads * config.head_dim);
  mixed = activation(widths.heads * config.head_dim);
  k = activation(widths.kv_heads * config.head_dim);
  v = activation(widths.kv_heads * config.head_dim);
  gate = activation(widths.columns);
  up = activation(widths.columns);
  routing = widths.experts == 0 ? std::make_shared<Routing>()
                                : std::make_shared<Routing>(context, most_tokens, widths.experts,
                                                            config.mixture->experts_per_token);
  if (config.features.post_norms) {
    const auto output = [&] {
      return OwnedTensor({most_tokens, config.hidden_size}, DType::f32, context.device(), "activations");
    };
    attention_output = output();
    if (for_backward) ffn_output = output();
  }
  if (!for_backward || !config.features.qk_norm) return;
  q_in = activation(widths.heads * config.head_dim);
  k_in = activation(widths.kv_heads * config.head_dim);
}

Tensor LayerBuffers::output_of_attention(std::int64_t tokens) const {
  return attention_output->empty() ? Tensor() : attention_output->slice(0, tokens);
}

Tensor LayerBuffers::output_of_ffn(std::int64_t tokens) const {
  return ffn_output->empty() ? output_of_attention(tokens) : ffn_output->slice(0, tokens);
}

LayerSteps::LayerSteps(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                       const Shards& shards)
    : context_(context),
      shards_(shards),
      config_(config),
      rope_(config.rope, config.head_dim, context.device()),
      normed_({most_tokens, config.hidden_size}, context.activations(), context.device(), "activations") {
  if (config.local_rope) local_rope_.emplace(*config.local_rope, config.head_dim, context.device());
  if (config_.mixture) mixture_.emplace(context, config_, most_tokens, shards);
}

const Rope* LayerSteps::rope_of(const AttentionKind& kind) const {
  if (kind.rope == LayerRope::none) return nullptr;
  return kind.rope == LayerRope::local ? &local_rope_.value() : &rope_;
}

Tensor LayerSteps::normed_of(const Tensor& x, const Tensor& weight) {
  const Tensor normed = normed_->view({x.rows(), config_.hidden_size});
  ops::rms_norm(context_, x, weight, norm_rule(config_), normed);
  return normed;
}

Tensor LayerSteps::activate(const FfnWeights& weights, const LayerBuffers& buffers, std::int64_t tokens,
                            const Tensor& out, const std::function<void(const Tensor& input)>& tap,
                            const ExpertTap& expert_tap) {
  if (weights.columns == 0) return out.view({tokens, 0});
  if (weights.mixture()) {
    const Tensor active = out.view({buffers.routing->layout.first_elements().back()});
    mixture().activate(*buffers.routing, buffers.gate, buffers.up, active, expert_tap);
    return active;
  }
  const Shape shape{tokens, weights.columns};
  const Tensor active = out.view(shape);
  ops::swiglu(context_, buffers.gate->view(shape), buffers.up->view(shape), active, gate_kind(config_));
  if (tap) tap(active);
  return active;
}

void LayerSteps::add_ffn_output(const FfnWeights& weights, const LayerBuffers& buffers, const Tensor& active,
                                const Tensor& hidden, const ExpertTap& tap) {
  if (weights.mixture() && weights.columns > 0) {
    return mixture().add_output(weights, *buffers.routing, active, hidden,
                                normed_->view({hidden.rows(), config_.hidden_size}), tap);
  }
  add_product(active, weights.down, weights.down_bias, weights.post_norm, hidden,
              buffers.output_of_ffn(hidden.rows()));
}

void LayerSteps::add_product(const Tensor& x, const Tensor& weight, const OwnedTensor& bias,
                             const Tensor& post_norm, const Tensor& hidden, const Tensor& output) {
  if (config_.features.post_norms) {
    put_out(x, weight, bias, output);
    return add_norm(output, post_norm, hidden);
  }
  shards_.add_product(context_, x, weight, bias_or_none(bias), hidden,
                      normed_->view({hidden.rows(), config_.hidden_size}));
}

void LayerSteps::put_out(const Tensor& x, const Tensor& weight, const OwnedTensor& bias,
                         const Tensor& output) {
  fill_zero(output);
  shards_.add_product(context_, x, weight, bias_or_none(bias), output,
                      normed_->view({output.rows(), config_.hidden_size}));
}

void LayerSteps::add_norm(const Tensor& output, const Tensor& post_norm, const Tensor& hidden) {
  ops::add(context_, normed_of(output, post_norm), hidden);
}

void LayerSteps::attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                           const Tensor& hidden, const LayerBuffers& buffers, const Tensor& log_sums,
                           const std::function<void(const Tensor& input)>& tap) {
  attend(weights, hidden, buffers,
         [&](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mixed) {
           if (const Rope* rope = rope_of(weights.kind)) rope->turn(context_, q, k, offsets);
           ops::attention(context_, q, k, v, config_.head_dim, weights.kv_of_head, offsets, mixed, log_sums,
                          attention_rule(config_, weights.kind));
           if (tap) tap(mixed);
         });
}

void LayerSteps::attention(const AttentionWeights& weights, const CachedLayer& cached, const Tensor& hidden,
                           const LayerBuffers& buffers) {
  const TextRows& texts = cached.texts;
  const ops::AttentionRule rule = attention_rule(config_, weights.kind);
  attend(weights, hidden, buffers,
         [&](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mixed) {
           if (const Rope* rope = rope_of(weights.kind))
             rope->turn(context_, q, k, texts.offsets, texts.starts, texts.lengths);
           ops::store_heads(context_, k, v, texts, cached.cache);
           if (texts.from_the_start()) {
             ops::attention(context_, q, k, v, config_.head_dim, weights.kv_of_head, texts.offsets, mixed, {},
                            rule);
           } else {
             ops::cached_attention(context_, q, cached.cache, weights.kv_of_head, texts, mixed, rule);
           }
         });
}

void LayerSteps::attend(const AttentionWeights& weights, const Tensor& hidden, const LayerBuffers& buffers,
                        const Mix& mix) {
  if (!weights.present()) return;
  const Shape q_shape{hidden.rows(), weights.heads() * config_.head_dim},
      kv_shape{hidden.rows(), weights.kv_heads * config_.head_dim};
  const Tensor q = buffers.q->view(q_shape), mixed = buffers.mixed->view(q_shape);
  const Tensor k = buffers.k->view(kv_shape), v = buffers.v->view(kv_shape);
  if (weights.heads() > 0) {
    const bool kept = !buffers.q_in->empty();
    const Tensor q_in = kept ? buffers.q_in->view(q_shape) : q,
                 k_in = kept ? buffers.k_in->view(kv_shape) : k;
    {
      const ops::Factor x(normed_of(hidden, weights.norm));
      ops::linear(context_, x, weights.q, bias_or_none(weights.q_bias), q_in);
      ops::linear(context_, x, weights.k, bias_or_none(weights.k_bias), k_in);
      ops::linear(context_, x, weights.v, bias_or_none(weights.v_bias), v);
    }
    if (config_.features.qk_norm) {
      ops::head_norm(context_, q_in, weights.q_norm, norm_rule(config_), q);
      ops::head_norm(context_, k_in, weights.k_norm, norm_rule(config_), k);
    }
    mix(q, k, v, mixed);
  }
  add_product(mixed, weights.o, weights.o_bias, weights.post_norm, hidden,
              buffers.output_of_attention(hidden.rows()));
}

void LayerSteps::gate_and_up(const FfnWeights& weights, const Tensor& hidden, const LayerBuffers& buffers) {
  const bool routes = weights.mixture() && shards_.is_root();  // for what is asked of the root alone
  if (weights.columns == 0 && !routes) return;
  const Tensor normed = normed_of(hidden, weights.input_norm());
  if (weights.mixture())
    return mixture().gate_and_up(weights, normed, *buffers.routing, buffers.gate, buffers.up);
  const Shape shape{hidden.rows(), weights.columns};
  const ops::Factor x(normed);
  ops::linear(context_, x, weights.gate, bias_or_none(weights.gate_bias), buffers.gate->view(shape));
  ops::linear(context_, x, weights.up, bias_or_none(weights.up_bias), buffers.up->view(shape));
}

}  // namespace galapagos
