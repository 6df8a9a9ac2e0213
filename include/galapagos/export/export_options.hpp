#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <galapagos/core/options.hpp>
#include <galapagos/export/gguf_type.hpp>

namespace galapagos {

/// How files of exports are written.
struct ExportOptions {
  std::uint64_t shard_bytes =
      5ull << 30;  ///< a longer checkpoint is cut into files of at most this (or one tensor)
  std::optional<GgufType> gguf_type;  ///< of matrices in GGUF files; none: the checkpoint's
  std::string gguf_pre;  ///< llama.cpp's name for how the tokenizer cuts texts, or "none"; empty: found by
                         ///< what it does
};

void bind(Options& list, ExportOptions& options);

}  // namespace galapagos
