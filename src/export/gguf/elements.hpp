#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <galapagos/export/gguf_type.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos::gguf {

/// Elements of a block of q8_0.
constexpr std::int64_t block = 32;

/// Bytes of so many elements, a multiple of what the type's blocks hold.
std::uint64_t bytes_of(GgufType type, std::int64_t elements);

/// Elements stored as `from` become those of `type`. q8_0 as llama.cpp's reference quantises: scale = largest
/// magnitude / 127, elements rounded half away from zero. fp16 holds no more than 65504: larger ones are cut
/// there. Returns how many were.
std::int64_t convert(DType from, const std::byte* bytes, std::int64_t elements, GgufType type,
                     std::byte* out);

}  // namespace galapagos::gguf
