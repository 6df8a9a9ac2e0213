#include "safetensors_format.hpp"

#include <algorithm>
#include <array>

namespace galapagos::safetensors {
namespace {

struct StoredType {
  std::string_view name;
  std::uint64_t bits;
};

constexpr std::array stored_types = std::to_array<StoredType>({
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
});

}  // namespace

std::optional<int> type_rank(std::string_view dtype) {
  const auto found = std::ranges::find(stored_types, dtype, &StoredType::name);
  if (found == stored_types.end()) return std::nullopt;
  return static_cast<int>(found - stored_types.begin());
}

std::optional<std::uint64_t> tensor_bytes(std::string_view dtype, std::span<const std::int64_t> shape) {
  const auto rank = type_rank(dtype);
  if (!rank) return std::nullopt;
  std::uint64_t bits = stored_types[static_cast<std::size_t>(*rank)].bits;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bits, static_cast<std::uint64_t>(extent), &bits)) {
      return std::nullopt;
    }
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

}  // namespace galapagos::safetensors
