#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>

// What normal equations need. All tensors are fp32, and so are products on every backend; of a symmetric
// matrix only the lower triangle is read.
namespace galapagos::ops {

/// Replaces rhs [n, d] by (h + r I)^-1 rhs for a symmetric h [n, n], r = `ridge` times the mean of its
/// diagonal (or times 1 where that is 0), by Cholesky; h is spoilt. False, with rhs spoilt, where h + r I is
/// not positive definite or the solution not finite.
bool solve_spd(const Context& context, const Tensor& h, double ridge, const Tensor& rhs);

/// y [n, d] = h x for a symmetric h [n, n] and x [n, d].
void symmetric_product(const Context& context, const Tensor& h, const Tensor& x, const Tensor& y);

/// The lower triangle of out [k, k] = rows and columns `indices`, which ascend, of a symmetric h [n, n].
void principal_submatrix(const Context& context, const Tensor& h, std::span<const std::int64_t> indices,
                         const Tensor& out);

/// y = alpha x + beta y, element by element; x and y may be the same. With beta = 0 what y held is not read.
void combine(const Context& context, float alpha, const Tensor& x, float beta, const Tensor& y);

/// sum x_i y_i over all elements, in fp64.
double inner_product(const Context& context, const Tensor& x, const Tensor& y);

}  // namespace galapagos::ops
