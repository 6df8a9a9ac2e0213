#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/mixture_steps.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/grouped.hpp>
#include <galapagos/ops/mixture.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {
namespace {

std::vector<Tensor> gradients_of(const LayerGradients& gradients, Tensor ExpertTensors<Tensor>::*tensor) {
  std::vector<Tensor> all;
  for (const ExpertTensors<Tensor>& expert : gradients.experts) all.push_back(expert.*tensor);
  return all;
}

}  // namespace

void MixtureSteps::backward(const Backward& state, const Tensor& d_output, const Tensor& active,
                            const Tensor& d_normed, const LayerGradients& gradients) {
  const auto& [weights, routing, gate, up] = state;
  const std::vector<std::int64_t>& layout = routing.layout.rows;
  const Tensor rows = rows_of(routing), d_weights = d_weights_->slice(0, routing.layout.count());
  {
    // Rows of the type that products are made of.
    OwnedTensor narrow;
    if (d_output.dtype != rows_->dtype) {
      narrow = OwnedTensor(d_output.shape, rows_->dtype, context_.device(), "activations of training");
      ops::convert(context_, d_output, narrow);
    }
    ops::gather_routed(context_, narrow->empty() ? d_output : narrow.view(), routing, rows);
  }
  {
    const ops::Factor d_rows(rows);
    if (!gradients.experts.empty())
      ops::grouped_weight_gradient(context_, d_rows, active, layout,
                                   gradients_of(gradients, &ExpertTensors<Tensor>::down));
    ops::grouped_input_gradient(context_, d_rows, layout, weights_of(weights, &ExpertWeights::down), active);
  }
  ops::routed_swiglu_backward(context_, active, gate, up, routing, d_weights, gate_kind(config_));
  ops::grouped_input_gradient(context_, gate, layout, weights_of(weights, &ExpertWeights::gate), rows);
  ops::grouped_input_gradient(context_, up, layout, weights_of(weights, &ExpertWeights::up), rows, true);
  ops::sum_rows(context_, rows, routing, d_normed);
  const Tensor d_logits = logits_->view({d_normed.rows(), std::ssize(weights.experts)});
  ops::route_backward(context_, routing, routing_rule(*config_.mixture), d_weights, d_logits);
  ops::linear_input_gradient(context_, d_logits, weights.router, d_normed, true);
}

void MixtureSteps::add_weight_gradients(const Backward& state, const Tensor& normed,
                                        const LayerGradients& gradients) {
  const auto& [weights, routing, gate, up] = state;
  if (gradients.ffn.router.empty()) return;
  const Tensor d_logits = logits_->view({normed.rows(), std::ssize(weights.experts)});
  ops::linear_weight_gradient(context_, d_logits, normed, gradients.ffn.router);
  const Tensor rows = rows_of(routing);
  ops::gather_routed(context_, normed, routing, rows);
  const ops::Factor x(rows);
  ops::grouped_weight_gradient(context_, gate, x, routing.layout.rows,
                               gradients_of(gradients, &ExpertTensors<Tensor>::gate));
  ops::grouped_weight_gradient(context_, up, x, routing.layout.rows,
                               gradients_of(gradients, &ExpertTensors<Tensor>::up));
}

}  // namespace galapagos
