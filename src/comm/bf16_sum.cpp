#include "bf16_sum.hpp"

#include <bit>
#include <cstdint>

namespace galapagos {
namespace {

float widened(std::uint16_t word) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(word) << 16);
}

/// As to_bfloat16() of the room above.
std::uint16_t rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t near = bits + 0x7fffu + ((bits >> 16) & 1u), nan = bits | 0x400000u;
  return static_cast<std::uint16_t>(((bits & 0x7fffffffu) > 0x7f800000u ? nan : near) >> 16);
}

}  // namespace

void Bf16Sum::add(void* added, void* sum, int* count, MPI_Datatype*) {
  const auto* const from = static_cast<const std::uint16_t*>(added);
  auto* const to = static_cast<std::uint16_t*>(sum);
  for (int i = 0; i < *count; ++i) to[i] = rounded(widened(from[i]) + widened(to[i]));
}

}  // namespace galapagos
