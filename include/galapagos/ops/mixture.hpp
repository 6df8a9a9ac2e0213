#pragma once

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/gate_kind.hpp>
#include <galapagos/ops/routing.hpp>

// What a mixture of experts does between its products, with tokens sorted by the expert that they go to: a
// token is there once for each of its experts.
namespace galapagos::ops {

/// out [rows, c] = of each row of the routing that of its token in table [t, c], whatever the (same) type.
void gather_routed(const Context& context, const Tensor& table, const Routing& routing, const Tensor& out);

/// out = weights[row] * f(gate) * up, f by `kind`; activations of one type, laid out as the routing's layout
/// says; out may be gate.
void routed_swiglu(const Context& context, const Tensor& gate, const Tensor& up, const Routing& routing,
                   const Tensor& out, GateKind kind = GateKind::silu);

/// Of the same, from d, the gradient by its output: gate and up become the gradients by them, and
/// d_weights[row], fp32, that by the row's weight.
void routed_swiglu_backward(const Context& context, const Tensor& d, const Tensor& gate, const Tensor& up,
                            const Routing& routing, const Tensor& d_weights, GateKind kind = GateKind::silu);

/// out [t, c], fp32 or an activation, = the sum over a token's experts, in the order of its choice, of their
/// rows [n, c], an activation, but for those that are elsewhere; plus out, which is fp32 then, with
/// `accumulate`.
void sum_rows(const Context& context, const Tensor& rows, const Routing& routing, const Tensor& out,
              bool accumulate = false);

}  // namespace galapagos::ops
