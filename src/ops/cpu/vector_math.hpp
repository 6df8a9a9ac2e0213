#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace galapagos::ops::cpu {

/// exp(x) to about 2 units in the last place, 0 below -87 and finite above 88; without branches, so that
/// loops over it become vector code (the library's exp does not, unless the compiler may break the rules of
/// floating point).
inline float vector_exp(float x) {
  constexpr float log2_e = 1.44269504f;
  // ln 2 in two parts, so that x - n ln 2 is exact to the last place (Cody and Waite).
  constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  const float bounded = std::min(std::max(x, -87.3f), 88.3f);
  constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to nearest
  const float shifted = bounded * log2_e + to_integer;
  const float n = shifted - to_integer;
  const float r = (bounded - n * ln2_high) - n * ln2_low;
  // Taylor's series of exp on |r| <= ln 2 / 2, up to r^7 / 5040: its remainder is below half a unit in the
  // last place.
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto exponent = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(to_integer) + 127;
  const std::int32_t above = -static_cast<std::int32_t>(x >= -87.3f);  // all ones, or zero where exp(x) is 0
  return p * std::bit_cast<float>((exponent << 23) & above);
}

/// What gelu keeps of x: (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
inline float gelu_share(float x) {
  constexpr float twice_root = 1.59576912f;  // 2 sqrt(2 / pi)
  return 1.0f / (1.0f + vector_exp(-twice_root * (x + 0.044715f * x * x * x)));
}

/// The derivative of x gelu_share(x).
inline float gelu_slope(float x) {
  constexpr float twice_root = 1.59576912f;
  const float share = gelu_share(x);
  return share + x * twice_root * (1.0f + 0.134145f * x * x) * share * (1.0f - share);
}

}  // namespace galapagos::ops::cpu
