#pragma once

namespace galapagos::ops::cuda {

/// What gelu keeps of x: (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ inline float gelu_share(float x) {
  constexpr float twice_root = 1.59576912f;  // 2 sqrt(2 / pi)
  return 1.0f / (1.0f + expf(-twice_root * (x + 0.044715f * x * x * x)));
}

/// The derivative of x gelu_share(x).
__device__ inline float gelu_slope(float x) {
  constexpr float twice_root = 1.59576912f;
  const float share = gelu_share(x);
  return share + x * twice_root * (1.0f + 0.134145f * x * x) * share * (1.0f - share);
}

}  // namespace galapagos::ops::cuda
