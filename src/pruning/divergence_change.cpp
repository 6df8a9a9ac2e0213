#include "divergence_change.hpp"

#include <vector>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {

DivergenceChange::DivergenceChange(const ops::Context& context, const FirstOrder& first,
                                   const Sensitivity& sensitivity, const Tensor& hessian, double per_token)
    : exact_(context.exact()),
      first_(first),
      sensitivity_(sensitivity),
      hessian_(hessian),
      per_token_(per_token) {}

/// [columns, hidden].
OwnedTensor DivergenceChange::change_to(std::span<const std::int64_t> kept, const Tensor& weight) const {
  const auto count = static_cast<std::int64_t>(kept.size());
  const Shape shape = first_.in_place->shape;
  // Removed columns take the row of zeros behind those that are kept.
  const OwnedTensor rows({count + 1, shape[1]}, DType::f32, exact_.device(), "a level's weight");
  if (count > 0) {
    const Tensor there = rows->slice(0, count);
    copy_bytes(there.data, there.device, weight.data, weight.device, weight.bytes());
  }
  fill_zero(rows->slice(count, 1));
  std::vector<std::int64_t> sources(static_cast<std::size_t>(shape[0]), count);
  for (std::int64_t i = 0; i < count; ++i)
    sources[static_cast<std::size_t>(kept[static_cast<std::size_t>(i)])] = i;
  OwnedTensor change(shape, DType::f32, exact_.device(), "the change of a weight");
  ops::gather_rows(exact_, rows, sources, change);
  ops::combine(exact_, -1, first_.in_place, 1, change);
  return change;
}

double DivergenceChange::to(std::span<const std::int64_t> kept, const Tensor& weight) const {
  const OwnedTensor change = change_to(kept, weight);
  const OwnedTensor of_inputs(change->shape, DType::f32, exact_.device(), "H times a change");
  ops::symmetric_product(exact_, hessian_, change, of_inputs);
  double curvature = 0;
  if (sensitivity_.root->data != nullptr) {
    // G / scale + ridge I = R^T R, here on the right.
    const OwnedTensor rooted(change->shape, DType::f32, exact_.device(), "a change times G");
    const OwnedTensor of_outputs(change->shape, DType::f32, exact_.device(), "a change times G");
    ops::linear(exact_, change, sensitivity_.root, nullptr, rooted);
    ops::linear_input_gradient(exact_, rooted, sensitivity_.root, of_outputs);
    curvature = ops::inner_product(exact_, of_inputs, of_outputs) -
                sensitivity_.ridge * ops::inner_product(exact_, of_inputs, change);
  } else {
    curvature = ops::inner_product(exact_, of_inputs, change);
  }
  return ops::inner_product(exact_, first_.gradient, change) +
         sensitivity_.scale * per_token_ * curvature / 2;
}

}  // namespace galapagos
