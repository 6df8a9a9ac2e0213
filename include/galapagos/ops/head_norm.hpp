#pragma once

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/norm_rule.hpp>

// The norm of each head, and its gradient; activations of one type.
namespace galapagos::ops {

/// The norm of each head of x [t, heads * head_dim]; weight [head_dim] fp32. out may be x.
void head_norm(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
               const Tensor& out);

/// Turns the gradient by head_norm's output into that by x, in place, and adds to d_weight [head_dim] fp32.
void head_norm_backward(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
                        const Tensor& d, const Tensor& d_weight);

}  // namespace galapagos::ops
