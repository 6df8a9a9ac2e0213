#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// What the reader and the writer of zip archives agree on (PKWARE's APPNOTE, 4.3 to 4.5).
namespace galapagos::torch_format {

inline constexpr std::uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50,
                               end_signature = 0x06054b50, wide_end_signature = 0x06064b50,
                               wide_locator_signature = 0x07064b50;
inline constexpr std::uint64_t local_bytes = 30, central_bytes = 46, end_bytes = 22, wide_end_bytes = 56,
                               wide_locator_bytes = 20;
inline constexpr std::uint16_t wide_field = 1;  ///< the extra field of sizes and places of 64 bits
inline constexpr std::uint16_t elsewhere16 = 0xffff;
inline constexpr std::uint32_t elsewhere32 = 0xffffffff;  ///< stands where such a field has the number

/// CRC-32, as zip has it.
std::uint32_t crc_of(std::span<const std::byte> bytes);

}  // namespace galapagos::torch_format
