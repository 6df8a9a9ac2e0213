#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>

namespace galapagos::ops {

/// out [k, c] = rows `rows` of table [n, c], whatever the (same) type.
void gather_rows(const Context& context, const Tensor& table, std::span<const std::int64_t> rows,
                 const Tensor& out);

/// out = in, as many values, rounded to the type of out.
void convert(const Context& context, const Tensor& in, const Tensor& out);

/// y += x, as many values; y fp32, x of any type.
void add(const Context& context, const Tensor& x, const Tensor& y);

/// norms[i] = the Euclidean norm of row i of x [n, c], an activation.
void row_norms(const Context& context, const Tensor& x, std::span<float> norms);

/// out [c, r] = in [r, c] transposed, both of the same type.
void transpose(const Context& context, const Tensor& in, const Tensor& out);

}  // namespace galapagos::ops
