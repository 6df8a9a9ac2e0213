#pragma once

#include <cstdint>

#include <galapagos/tensor/tensor.hpp>

// What one thread computes of a product of linear.hpp or backward.hpp. Where a product is cut depends on its
// extents alone.
namespace galapagos::ops::cpu {

/// Columns [column, column + columns) of y = x weight^T + beta y; nothing is empty.
void linear_columns(const Tensor& x, const Tensor& weight, float beta, const Tensor& y, std::int64_t column,
                    std::int64_t columns);

/// Of d_x = d_y weight + beta d_x, likewise.
void input_gradient_columns(const Tensor& d_y, const Tensor& weight, float beta, const Tensor& d_x,
                            std::int64_t column, std::int64_t columns);

}  // namespace galapagos::ops::cpu
