#pragma once

#include <galapagos/ops/context.hpp>

namespace galapagos::ops {

/// x = cap * tanh(x / cap), element by element, fp32.
void soft_cap(const Context& context, const Tensor& x, float cap);

/// Turns the gradient d by what soft_cap() has made, `capped`, into that by what it was made of, in place.
void soft_cap_backward(const Context& context, const Tensor& capped, float cap, const Tensor& d);

}  // namespace galapagos::ops
