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

/// What became of elements that could not stay as they were.
struct Converted {
  std::int64_t cut = 0;         ///< larger than fp16 holds, and now what it holds at most
  std::int64_t not_finite = 0;  ///< NaN or infinite
};

/// Elements stored as `from` become those of `type`, and are counted in `converted`. q8_0 as llama.cpp's
/// reference quantises: scale = largest magnitude / 127, elements rounded half away from zero.
void convert(DType from, const std::byte* bytes, std::int64_t elements, GgufType type, std::byte* out,
             Converted& converted);

}  // namespace galapagos::gguf
