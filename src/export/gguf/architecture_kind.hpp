#pragma once

#include <cstdint>

namespace galapagos::gguf {

/// One of llama.cpp's architectures, by what it has that a pruned model may need.
struct Architecture {
  const char* name;
  bool uneven = false;       ///< layers may differ in heads, KV heads and columns
  bool interleaved = false;  ///< turns the elements 2i and 2i + 1 of a head together, where Hugging Face's
                             ///< models turn i and i + n
  bool fused = false;        ///< q, k and v are one matrix
  bool frequencies = false;  ///< takes factors for the frequencies of its rope, and has biases
  bool empty_parts = false;  ///< a layer may lack attention
  bool mixed = false;        ///< layers may be dense, or mixtures of different numbers of experts
  bool half_turned = false;  ///< turns half of the elements that it is told to
  bool untied = false;       ///< takes no output head from the embedding
};

/// Columns of zeros in a layer that has none left: llama.cpp computes layers without a feed-forward part
/// wrongly, or crashes in the last one.
constexpr std::int64_t zero_columns = 32;

/// The next multiple of `of`.
constexpr std::int64_t multiple(std::int64_t count, std::int64_t of) {
  return (count + of - 1) / of * of;
}

}  // namespace galapagos::gguf
