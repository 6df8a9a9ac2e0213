#pragma once

#include "../tokenizer/encode_parts.hpp"

#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/io/text_reader.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// What is to be told of the text of a block. Goes through MPI as it is.
struct TextFacts {
  std::uint64_t file = 0;  ///< its place among all
  std::uint64_t tokens = 0;
  std::uint64_t documents = 0;         ///< with tokens
  std::uint64_t empty_documents = 0;   ///< without any; left out
  std::uint64_t bad_records = 0;       ///< left out, too
  std::int32_t failed_at = INT32_MAX;  ///< the rank whose block of the round cannot be read, nor any after it
  bool web_page = false;               ///< a plain text begins like one
  TextCounts counts;

  std::uint64_t records() const { return documents + empty_documents + bad_records; }
};

/// The tokens of a block of consecutive documents of one file.
struct TokenizedBlock {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint32_t> lengths;  ///< of each document, none of them 0
  std::vector<std::uint8_t> in_loss;   ///< of each token whether it is of a response, where that is asked for
  TextFacts facts;
  std::string fault;           ///< of the first bad record
  std::exception_ptr failure;  ///< what was thrown where a block cannot be read
};

/// Cuts text files into blocks of documents that do not depend on the number of ranks, and tokenizes every
/// `ranks`-th of them: round r of rank k is block r * ranks + k. Does not communicate.
class TokenizedBlocks {
 public:
  /// A block ends with the document that makes it reach `block_bytes`, or with its file. `bos`, where given,
  /// goes in front of every document that is not empty. `responses`: tell them from the rest; documents
  /// without one are bad records.
  TokenizedBlocks(std::vector<std::filesystem::path> files, const Tokenizer& tokenizer,
                  std::optional<std::int32_t> bos, std::uint64_t block_bytes, int rank, int ranks,
                  TextOptions options = {}, bool responses = false);

  /// This rank's block of the next round, empty where there is none any more. What cannot be read is told in
  /// it, as perhaps nobody asks for what lies there; no round comes after that.
  TokenizedBlock next_round();
  /// Whether the last round came to the end of the last file, on every rank alike.
  bool ended() const { return ended_; }

 private:
  bool visit_block(TokenizedBlock* block);
  bool read_into(TokenizedBlock& block);
  void append(TokenizedBlock& block) const;
  EncodedParts encode() const;

  std::vector<std::filesystem::path> files_;
  const Tokenizer& tokenizer_;
  std::optional<std::int32_t> bos_;
  std::uint64_t block_bytes_;
  int rank_;
  int ranks_;
  TextOptions options_;
  bool responses_;
  std::size_t next_file_ = 0;
  std::optional<DocumentReader> reader_;
  std::vector<TextPart> document_;
  bool ended_ = false;
};

}  // namespace galapagos
