#pragma once

namespace galapagos::ops {

/// How norms are made: x / sqrt(mean(x^2) + epsilon) * (weight + shift).
struct NormRule {
  float epsilon;
  float shift = 0;

  NormRule(float epsilon_, float shift_ = 0) : epsilon(epsilon_), shift(shift_) {}
};

}  // namespace galapagos::ops
