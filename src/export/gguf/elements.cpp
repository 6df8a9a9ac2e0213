#include "elements.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace galapagos::gguf {
namespace {

constexpr std::size_t block_bytes = sizeof(Float16) + static_cast<std::size_t>(block);
constexpr float largest_f16 = 65504;

void quantise(std::span<const float> values, std::byte* out) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  const float scale = largest / 127, inverse = scale == 0 ? 0 : 1 / scale;
  const Float16 stored = to_float16(scale);
  std::memcpy(out, &stored, sizeof stored);
  for (std::size_t i = 0; i < values.size(); ++i)
    out[sizeof stored + i] =
        static_cast<std::byte>(static_cast<std::int8_t>(std::round(values[i] * inverse)));
}

}  // namespace

std::uint64_t bytes_of(GgufType type, std::int64_t elements) {
  const auto count = static_cast<std::uint64_t>(elements);
  if (type == GgufType::q8_0) return count / static_cast<std::uint64_t>(block) * block_bytes;
  return count * (type == GgufType::f32 ? 4 : 2);
}

void convert(DType from, const std::byte* bytes, std::int64_t elements, GgufType type, std::byte* out,
             Converted& converted) {
  constexpr std::int64_t piece = std::int64_t{1} << 16;
  std::vector<float> values(static_cast<std::size_t>(std::min(piece, elements)));
  for (std::int64_t first = 0; first < elements; first += piece) {
    const std::int64_t count = std::min(piece, elements - first);
    const std::span<float> some = std::span(values).first(static_cast<std::size_t>(count));
    convert_to_float(from, bytes + static_cast<std::size_t>(first) * size_of(from), some);
    std::byte* to = out + bytes_of(type, first);
    for (float& value : some) {
      if (std::isfinite(value)) continue;
      ++converted.not_finite;
      value = 0;
    }
    if (type == GgufType::q8_0) {
      for (std::int64_t b = 0; b < count / block; ++b)
        quantise(some.subspan(static_cast<std::size_t>(b * block), static_cast<std::size_t>(block)),
                 to + static_cast<std::size_t>(b) * block_bytes);
      continue;
    }
    if (type == GgufType::f16) {
      for (float& value : some) {
        if (std::abs(value) <= largest_f16) continue;
        value = std::copysign(largest_f16, value);
        ++converted.cut;
      }
    }
    convert_from_float(some,
                       type == GgufType::f32   ? DType::f32
                       : type == GgufType::f16 ? DType::f16
                                               : DType::bf16,
                       to);
  }
}

}  // namespace galapagos::gguf
