#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace galapagos {

static_assert(std::endian::native == std::endian::little, "token files are read and written as they lie");

/// Megatron's .idx: this header, i32 lengths[sequences], i64 byte offsets[sequences], i64 document
/// indices[documents], perhaps i8 modes[sequences]. Nothing is aligned.
namespace megatron {
constexpr std::array<char, 9> magic = {'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
constexpr std::uint64_t version = 1;
constexpr std::uint64_t header_bytes = 34;  // magic, u64 version, u8 type, u64 sequences, u64 documents
constexpr std::uint8_t type_u8 = 1, type_i8 = 2, type_i16 = 3, type_i32 = 4, type_i64 = 5, type_u16 = 8;
/// Vocabularies below this are stored as u16, others as i32.
constexpr std::int32_t u16_vocabulary = 65500;
}  // namespace megatron

/// llm.c's .bin: 256 i32 {magic, version, tokens, ...}, then the tokens.
namespace llm_c {
constexpr std::uint64_t header_bytes = 1024;
constexpr std::int32_t magic_u16 = 20240520, version_u16 = 1;
constexpr std::int32_t magic_u32 = 20240801, version_u32 = 7;
}  // namespace llm_c

}  // namespace galapagos
