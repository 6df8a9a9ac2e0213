#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/gate_kind.hpp>

// What a mixture of experts does between its products, with tokens sorted by the expert that they go to: a
// token is there once for each of its experts.
namespace galapagos::ops {

/// Activations between the products of experts, end to end: rows [rows[e], rows[e + 1]) are expert e's and
/// columns[e] wide.
struct ExpertRows {
  std::vector<std::int64_t> rows = {0};  ///< one more than experts
  std::vector<std::int64_t> columns;

  std::int64_t experts() const { return static_cast<std::int64_t>(columns.size()); }
  std::int64_t count() const { return rows.back(); }
  std::int64_t rows_of(std::int64_t expert) const {
    return rows[static_cast<std::size_t>(expert) + 1] - rows[static_cast<std::size_t>(expert)];
  }
  /// Where each expert's elements begin, and where the last one's end.
  std::vector<std::int64_t> first_elements() const;
};

/// out = weights[row] * f(gate) * up, f by `kind`; activations of one type, laid out as `layout` says; out
/// may be gate.
void routed_swiglu(const Context& context, const Tensor& gate, const Tensor& up,
                   std::span<const float> weights, const ExpertRows& layout, const Tensor& out,
                   GateKind kind = GateKind::silu);

/// Of the same, from d, the gradient by its output: gate and up become the gradients by them, and
/// d_weights[row] that by the row's weight.
void routed_swiglu_backward(const Context& context, const Tensor& d, const Tensor& gate, const Tensor& up,
                            std::span<const float> weights, const ExpertRows& layout,
                            std::span<float> d_weights, GateKind kind = GateKind::silu);

/// out [t, c], fp32 or an activation, = the sum over i of rows [n, c], an activation, number places[t * k +
/// i], with k = places.size() / t, in this order, but for those that are negative; plus out, which is fp32
/// then, with `accumulate`.
void sum_rows(const Context& context, const Tensor& rows, std::span<const std::int64_t> places,
              const Tensor& out, bool accumulate = false);

}  // namespace galapagos::ops
