#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include <galapagos/core/file.hpp>

namespace galapagos {

/// Writes X.idx.part of a Megatron pair as document after document is known, in little memory: one sequence
/// per document.
class IndexWriter {
 public:
  IndexWriter(const std::filesystem::path& part, int bytes_per_token);

  void append(std::span<const std::uint32_t> lengths);
  /// Writes what follows the lengths, and the header. Call once, at the end.
  void finish();

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  int bytes_per_token_;
  std::uint64_t documents_ = 0;
};

/// Bytes per token of a Megatron pair for a vocabulary of that size: 2 or 4.
int megatron_token_bytes(std::int32_t vocab_size);

/// Token ids as they lie in the .bin.
std::vector<std::byte> pack_tokens(std::span<const std::int32_t> tokens, int bytes_per_token);

}  // namespace galapagos
