#pragma once

#include "tokenized_blocks.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// What files of text had in them beside their tokens: bad records, characters that had to be replaced,
/// nothing at all. Counts blocks in the order of the files, so that all ranks find the same, and the same
/// whatever their number.
class TextTally {
 public:
  TextTally(const Communicator& comm, std::vector<std::filesystem::path> files, const TextOptions& options)
      : comm_(comm), files_(std::move(files)), options_(options) {}

  /// Collective. Counts a round of blocks, this rank's with that of each other, up to the one that brings all
  /// to `budget` tokens. InputError where a file has more bad records than may be passed over, is hardly
  /// UTF-8, or cannot be read so far.
  void add(const TokenizedBlock& mine, std::uint64_t budget = UINT64_MAX);
  /// Collective. Ends the counting: of what was begun, or with `all` of all files. InputError as above.
  void finish(bool all);

  std::uint64_t tokens() const { return tokens_; }
  /// On the root, the files without a token, and why.
  const std::string& nothing_in() const { return nothing_in_; }

 private:
  void add_block(const TextFacts& facts, const std::string& fault, int owner);
  void close_file();
  void refuse_invalid() const;

  const Communicator& comm_;
  std::vector<std::filesystem::path> files_;
  TextOptions options_;
  std::size_t file_ = 0;  // the one that is counted
  TextFacts facts_;       // of that
  std::string fault_;     // the first in that
  std::uint64_t tokens_ = 0;
  std::string nothing_in_;
  std::uint64_t empty_files_ = 0;
};

}  // namespace galapagos
