#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>

namespace galapagos {

/// How the divergence of a model depends on a module's weight, [columns, hidden] fp32 on a context's device,
/// transposed: its gradient C, and the weight W at which it was taken.
struct FirstOrder {
  OwnedTensor gradient, in_place;
};

/// What the divergence, in nats per token, changes by where another weight W' takes the place of W:
/// <C, W' - W> + tr(G (W' - W) H (W' - W)^T) / 2 with H the mean of x x^T. Negative where it falls.
class DivergenceChange {
 public:
  /// `hessian` [columns, columns] fp32, lower triangle, is H / `per_token`. The references must outlive this.
  DivergenceChange(const ops::Context& context, const FirstOrder& first, const Sensitivity& sensitivity,
                   const Tensor& hessian, double per_token);

  /// With a weight [kept, hidden] fp32 whose rows are those at `kept`; the others are 0.
  double to(std::span<const std::int64_t> kept, const Tensor& weight) const;

 private:
  OwnedTensor change_to(std::span<const std::int64_t> kept, const Tensor& weight) const;

  ops::Context exact_;  // whose products keep fp32
  const FirstOrder& first_;
  const Sensitivity& sensitivity_;
  Tensor hessian_;
  double per_token_;
};

}  // namespace galapagos
