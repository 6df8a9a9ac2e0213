#pragma once

#include <cstdint>
#include <span>

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

/// What a step changes, all of one length: fp32, but for the working weights of any type.
struct AdamWState {
  Tensor gradients, master, first, second;
  Tensor weights;
};

/// Updates master weights, first and second moments in place from the gradients, which become zero, and gives
/// the working weights the master weights, rounded to `precision` also where they are kept in fp32; all in
/// one pass. A gradient that is NaN or infinite, if there is any, is left in `bad`, fp32 [1], which may be
/// empty.
void adamw(const Context& context, const AdamWStep& step, const AdamWState& state, DType precision,
           const Tensor& bad = {});

/// For each of several fp32 tensors the sum of the squares of its elements, in fp64.
void sums_of_squares(const Context& context, std::span<const Tensor> tensors, std::span<double> sums);
double sum_of_squares(const Context& context, const Tensor& x);

}  // namespace galapagos::ops
