#include <cmath>

#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/logit_tiles.hpp>
#include <galapagos/model/output_pass.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/soft_cap.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {

OutputPass::OutputPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
                       const Shards& shards)
    : context_(context), shards_(shards), config_(config) {
  const auto matrix = [&](std::int64_t width, DType type) {
    return OwnedTensor({ops::logit_tile(context.device(), most_tokens), width}, type, context.device(),
                       "logits and their gradients");
  };
  normed_ = matrix(config.hidden_size, context.activations());
  d_normed_ = matrix(config.hidden_size, DType::f32);
  logits_ = matrix(config.vocab_size, DType::f32);
  if (config.logit_cap != 0) capped_ = matrix(config.vocab_size, DType::f32);
  unused_ = OwnedTensor({config.hidden_size}, DType::f32, context.device(), "gradients that nobody asks for");
  fill_zero(unused_);
}

double OutputPass::run(const Tensor& norm, const Tensor& head, const Tensor& hidden, const Tensor& d_hidden,
                       const Loss& loss, const OutputGradients& gradients) {
  const ops::NormRule rule = norm_rule(config_);
  double sum = 0;
  for_logit_tiles(context_.device(), hidden.rows(), [&](std::int64_t first, std::int64_t count) {
    const Tensor states = hidden.slice(first, count), logits = logits_->slice(0, count);
    const Tensor normed = normed_->slice(0, count), d_normed = d_normed_->slice(0, count);
    ops::rms_norm(context_, states, norm, rule, normed);
    const ops::Factor x(normed);
    head_logits(context_, config_, x, head, logits);
    if (!capped_->empty()) copy_values(logits, capped_->slice(0, count));
    sum += loss(first, logits);
    if (!std::isfinite(sum)) return false;
    if (!capped_->empty()) {
      ops::soft_cap_backward(context_, capped_->slice(0, count), static_cast<float>(config_.logit_cap),
                             logits);
    }
    const ops::Factor d_logits(logits);
    ops::linear_input_gradient(context_, d_logits, head, d_normed);
    const Shards::SumGuard guard(shards_);
    shards_.start_sum(d_normed);
    if (!gradients.head.empty()) ops::linear_weight_gradient(context_, d_logits, x, gradients.head);
    shards_.finish_sum();
    ops::rms_norm_backward(context_, states, norm, rule, d_normed, d_hidden.slice(first, count),
                           gradients.norm.empty() ? unused_.view() : gradients.norm);
    return true;
  });
  return sum;
}

}  // namespace galapagos
