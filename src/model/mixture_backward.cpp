#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/mixture_steps.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {
namespace {

/// An expert's gradients, or none where nobody asks for them.
ExpertTensors<Tensor> gradients_of(const LayerGradients& gradients, std::size_t expert) {
  return expert < gradients.experts.size() ? gradients.experts[expert] : ExpertTensors<Tensor>();
}

}  // namespace

void MixtureSteps::backward(const Backward& state, const Tensor& d_output, const Tensor& active,
                            const Tensor& d_normed, const LayerGradients& gradients) {
  const auto& [weights, routing, gate, up] = state;
  const std::int64_t count = routing.layout.count();
  {
    // Rows of the type that products are made of.
    OwnedTensor narrow;
    if (d_output.dtype != rows_->dtype) {
      narrow = OwnedTensor(d_output.shape, rows_->dtype, context_.device(), "activations of training");
      ops::convert(context_, d_output, narrow);
    }
    ops::gather_rows(context_, narrow->empty() ? d_output : narrow.view(), routing.tokens, rows_of(0, count));
  }
  for_experts(weights, routing,
              [&](std::size_t expert, std::int64_t first, std::int64_t rows, std::int64_t first_element) {
                const ExpertWeights& own = *weights.experts[expert];
                const Tensor of_expert = part_of(active, first_element, rows, own.columns);
                const ops::Factor d_rows(rows_of(first, rows));
                const Tensor d_down = gradients_of(gradients, expert).down;
                if (!d_down.empty()) ops::linear_weight_gradient(context_, d_rows, of_expert, d_down);
                ops::linear_input_gradient(context_, d_rows, own.down, of_expert);
              });
  std::vector<float> d_weights(static_cast<std::size_t>(count));
  ops::routed_swiglu_backward(context_, active, gate, up, routing.weights, routing.layout, d_weights,
                              gate_kind(config_));
  for_experts(weights, routing,
              [&](std::size_t expert, std::int64_t first, std::int64_t rows, std::int64_t first_element) {
                const ExpertWeights& own = *weights.experts[expert];
                ops::linear_input_gradient(context_, part_of(gate, first_element, rows, own.columns),
                                           own.gate, rows_of(first, rows));
                ops::linear_input_gradient(context_, part_of(up, first_element, rows, own.columns), own.up,
                                           rows_of(first, rows), true);
              });
  ops::sum_rows(context_, rows_of(0, count), routing.places, d_normed);
  const std::vector<float> by_logits = route_backward(routing, *config_.mixture, d_weights);
  const Tensor d_logits = logits_->view({d_normed.rows(), std::ssize(weights.experts)});
  copy_bytes(d_logits.data, d_logits.device, reinterpret_cast<const std::byte*>(by_logits.data()),
             Device::cpu, d_logits.bytes());
  ops::linear_input_gradient(context_, d_logits, weights.router, d_normed, true);
}

void MixtureSteps::add_weight_gradients(const Backward& state, const Tensor& normed,
                                        const LayerGradients& gradients) {
  const auto& [weights, routing, gate, up] = state;
  if (gradients.ffn.router.empty()) return;
  const Tensor d_logits = logits_->view({normed.rows(), std::ssize(weights.experts)});
  ops::linear_weight_gradient(context_, d_logits, normed, gradients.ffn.router);
  ops::gather_rows(context_, normed, routing.tokens, rows_of(0, routing.layout.count()));
  for_experts(weights, routing,
              [&](std::size_t expert, std::int64_t first, std::int64_t rows, std::int64_t first_element) {
                const ExpertWeights& own = *weights.experts[expert];
                const ExpertTensors<Tensor> of_expert = gradients_of(gradients, expert);
                const ops::Factor x(rows_of(first, rows));
                ops::linear_weight_gradient(context_, part_of(gate, first_element, rows, own.columns), x,
                                            of_expert.gate);
                ops::linear_weight_gradient(context_, part_of(up, first_element, rows, own.columns), x,
                                            of_expert.up);
              });
}

}  // namespace galapagos
