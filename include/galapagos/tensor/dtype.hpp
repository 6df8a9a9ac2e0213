#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace galapagos {

/// Storage types of tensors. Arithmetic is always accumulated in fp32 or wider.
enum class DType : std::uint8_t { f32, bf16, f16 };

constexpr std::size_t size_of(DType type) {
  return type == DType::f32 ? 4 : 2;
}

/// "fp32", "bf16", "fp16": the spelling of --precision.
std::string name_of(DType type);

/// 16-bit words as stored, kept apart from integers by their types.
struct BFloat16 {
  std::uint16_t bits = 0;
};
struct Float16 {
  std::uint16_t bits = 0;
};

float to_float(BFloat16 value);
float to_float(Float16 value);
inline float to_float(float value) {
  return value;
}

/// Rounds to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
BFloat16 to_bfloat16(float value);
Float16 to_float16(float value);

/// Converts out.size() values stored as `type` at `bytes` (any alignment) to fp32.
void convert_to_float(DType type, const std::byte* bytes, std::span<float> out);
/// Converts fp32 values to `type` at `bytes` (any alignment).
void convert_from_float(std::span<const float> values, DType type, std::byte* bytes);

}  // namespace galapagos
