#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

// What the reader and the writer of safetensors agree on.
namespace galapagos::safetensors {

inline constexpr std::uint64_t max_header_bytes = 100'000'000;
inline constexpr std::string_view metadata_key = "__metadata__";

/// The place of a type in the format's own list, which goes from narrow to wide, or nothing where the format
/// does not know the type.
std::optional<int> type_rank(std::string_view dtype);

/// Bytes of a tensor; nothing where the type is unknown, the product overflows, or a sub-byte type does not
/// fill whole bytes.
std::optional<std::uint64_t> tensor_bytes(std::string_view dtype, std::span<const std::int64_t> shape);

}  // namespace galapagos::safetensors
