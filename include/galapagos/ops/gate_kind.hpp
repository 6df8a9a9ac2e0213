#pragma once

#include <cstdint>

namespace galapagos::ops {

/// What the gate of a feed-forward part goes through: x / (1 + exp(-x)), or x times the normal distribution
/// function as approximated by tanh ("gelu_pytorch_tanh").
enum class GateKind : std::uint8_t { silu, gelu_tanh };

}  // namespace galapagos::ops
