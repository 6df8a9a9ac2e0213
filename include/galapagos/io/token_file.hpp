#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <galapagos/core/file.hpp>

namespace galapagos {

/// Whether a path means token ids rather than text: it ends in .bin or .idx, is the prefix of a Megatron
/// pair, or a folder of MDS shards with a column of them.
bool is_token_file(const std::filesystem::path& path);

/// A memory-mapped file of token ids: Megatron's X.bin with X.idx beside it, or llm.c's .bin (one document).
class TokenFile {
 public:
  /// `path`: the .bin, the .idx, or X for a Megatron pair. InputError where the file is missing, of unknown
  /// kind or damaged: everything but the ids themselves is checked here.
  static TokenFile open(const std::filesystem::path& path);

  std::size_t documents() const { return document_begin_.size() - 1; }
  std::uint64_t tokens() const { return tokens_; }
  int bytes_per_token() const { return bytes_per_token_; }
  /// One line: kind, documents, tokens.
  std::string description() const;

  /// Number of tokens of a document.
  std::uint64_t length(std::size_t document) const;
  /// Replaces `out` by the first (at most `limit`) tokens of a document. InputError where one is negative or
  /// above 2^31 - 2.
  void read(std::size_t document, std::vector<std::int32_t>& out, std::uint64_t limit = UINT64_MAX) const;

 private:
  struct Run {
    std::uint64_t offset;  // bytes in data_
    std::uint64_t tokens;
  };

  TokenFile(const std::filesystem::path& path, MappedFile data) : path_(path), data_(std::move(data)) {}
  static TokenFile open_megatron(const std::filesystem::path& bin, const std::filesystem::path& idx);
  void read_sequences(std::span<const std::byte> index, std::uint64_t count,
                      const std::filesystem::path& idx);
  void read_documents(std::span<const std::byte> indices, std::uint64_t count,
                      const std::filesystem::path& idx);
  static TokenFile open_llm_c(const std::filesystem::path& bin);
  void append(std::uint64_t offset, std::uint64_t count, std::vector<std::int32_t>& out) const;

  std::filesystem::path path_;
  MappedFile data_;
  std::string kind_;
  int bytes_per_token_ = 0;
  bool signed_ = false;
  std::uint64_t tokens_ = 0;
  std::vector<Run> runs_;
  std::vector<std::uint64_t> document_begin_ = {0};  // index of each document's first run, and the end
};

}  // namespace galapagos
