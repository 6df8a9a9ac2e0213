#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <galapagos/io/text_reader.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// The tokens of a block of consecutive documents of one file.
struct TokenizedBlock {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint32_t> lengths;  ///< of each document, none of them 0
  std::vector<std::uint8_t> in_loss;   ///< of each token whether it is of a response, where that is asked for
  std::uint64_t empty_documents = 0;
};

/// Cuts text files into blocks of documents that do not depend on the number of ranks, and tokenizes every
/// `ranks`-th of them: round r of rank k is block r * ranks + k. Does not communicate.
class TokenizedBlocks {
 public:
  /// A block ends with the document that makes it reach `block_bytes`, or with its file. `bos`, where given,
  /// goes in front of every document that is not empty. `responses`: tell them from the rest, and refuse
  /// documents without one.
  TokenizedBlocks(std::vector<std::filesystem::path> files, const Tokenizer& tokenizer,
                  std::optional<std::int32_t> bos, std::uint64_t block_bytes, int rank, int ranks,
                  bool responses = false);

  /// This rank's block of the next round, empty where there is none any more.
  TokenizedBlock next_round();
  /// Whether the last round came to the end of the last file, on every rank alike.
  bool ended() const { return ended_; }

 private:
  bool visit_block(TokenizedBlock* block);
  void append(TokenizedBlock& block) const;

  std::vector<std::filesystem::path> files_;
  const Tokenizer& tokenizer_;
  std::optional<std::int32_t> bos_;
  std::uint64_t block_bytes_;
  int rank_;
  int ranks_;
  bool responses_;
  std::size_t next_file_ = 0;
  std::optional<DocumentReader> reader_;
  std::vector<TextPart> document_;
  bool ended_ = false;
};

}  // namespace galapagos
