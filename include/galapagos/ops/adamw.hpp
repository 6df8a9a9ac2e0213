#pragma once

#include <cstdint>

#include <galapagos/ops/context.hpp>

namespace galapagos::ops {

/// One step of AdamW (Loshchilov and Hutter 2019, algorithm 2), in the form and with the defaults of
/// torch.optim.AdamW.
struct AdamWStep {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  double gradient_factor = 1;  ///< the gradients are multiplied by it first, as for clipping
  std::int64_t step = 1;       ///< counted from 1
};

/// Updates weights, first and second moments in place from the gradients; all fp32 and of one length.
void adamw(const Context& context, const AdamWStep& step, const Tensor& gradients, const Tensor& weights,
           const Tensor& first, const Tensor& second);

/// Sum of the squares of all elements of a fp32 tensor, in fp64.
double sum_of_squares(const Context& context, const Tensor& x);

}  // namespace galapagos::ops
