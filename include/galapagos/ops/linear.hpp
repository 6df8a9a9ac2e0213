#pragma once

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/factor.hpp>

namespace galapagos::ops {

/// y [t, out] = x [t, in] weight^T [in, out] + bias [out], and + y with `accumulate`. x and y are fp32 or, on
/// a GPU, bf16, the weight any dtype; bias may be null. `in` may be 0: y is the bias, or what it was and the
/// bias.
void linear(const Context& context, const Factor& x, const Tensor& weight, const Tensor* bias,
            const Tensor& y, bool accumulate = false);

/// H [n, n] += scale x^T x, fp32, for x [t, n], fp32 or, on a GPU, bf16; only the lower triangle (row >=
/// column) of H means anything; what lies above it is undefined.
void accumulate_gram(const Context& context, const Tensor& x, float scale, const Tensor& h);

}  // namespace galapagos::ops
