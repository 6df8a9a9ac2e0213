#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/factor.hpp>

// The products of all experts of a mixture at once. Operands lie end to end, as ExpertRows says: rows
// [rows[e], rows[e + 1]) are expert e's, as wide as its weight [out, in] makes them. The weight of an expert
// without rows is not looked at. Types are as for linear() and its gradients.
//
// A GPU computes them in one call of cuBLAS where that has one for the types (all bf16, or all fp32, weights
// and results; CUDA 12.5 and later); experts whose bf16 matrices are not aligned to 16 bytes, or all where
// cuBLAS has none, are multiplied one after the other.
namespace galapagos::ops {

/// The weights of all experts, and where what they make of the rows goes.
struct GroupedProduct {
  std::vector<Tensor> weights;
  Tensor y;
};

/// y = x weight^T of each expert and product, and + y with `accumulate`. Products of the same x share a call.
void grouped_linear(const Context& context, const Factor& x, std::span<const std::int64_t> rows,
                    std::span<const GroupedProduct> products, bool accumulate = false);

/// d_x = d_y weight of each expert, and + d_x with `accumulate`.
void grouped_input_gradient(const Context& context, const Factor& d_y, std::span<const std::int64_t> rows,
                            std::span<const Tensor> weights, const Tensor& d_x, bool accumulate = false);

/// d_weight += d_y^T x of each expert, fp32.
void grouped_weight_gradient(const Context& context, const Factor& d_y, const Factor& x,
                             std::span<const std::int64_t> rows, std::span<const Tensor> d_weights);

}  // namespace galapagos::ops
