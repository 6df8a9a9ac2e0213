#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/text_options.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

struct SequenceOptions {
  std::int64_t sequence_length = 0;  ///< longest sequence, in tokens
  std::int64_t token_budget = 0;     ///< tokens to load in all; 0: everything
  std::optional<std::int32_t> bos;   ///< goes in front of every document
  bool fewer = false;                ///< a text with fewer tokens than the budget will do
  bool responses_only = false;       ///< only tokens of responses count in a loss
  TextOptions text = {};             ///< how files of text are read
};

/// Sequences of token ids, one after the other.
struct TokenSet {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint64_t> offsets = {0};   ///< where each sequence begins in tokens, and their end
  std::vector<std::uint8_t> in_loss = {};     ///< of each token whether a loss counts it; empty: all do
  std::vector<std::uint32_t> documents = {};  ///< of each sequence which document it is of; empty: not known

  std::size_t sequences() const { return offsets.size() - 1; }
  std::span<const std::int32_t> sequence(std::size_t i) const {
    return std::span(tokens).subspan(offsets[i], offsets[i + 1] - offsets[i]);
  }
  /// Tokens of a sequence that are predicted and count in a loss.
  std::int64_t predicted(std::size_t i) const;
  /// Checksum of ids, boundaries and what counts.
  std::uint64_t fingerprint() const;
};

/// The given sequences, one after the other.
TokenSet select_sequences(const TokenSet& data, std::span<const std::uint32_t> sequences);
/// Of all sequences.
std::int64_t predicted_tokens(const TokenSet& sequences);

/// Collective. The first `token_budget` tokens of the files, in their order, on every rank, whatever the
/// number of ranks. Text and token files may be mixed. A document is a sequence of its own, cut into pieces
/// of `sequence_length` where it is longer; empty ones are passed over; the last one is trimmed to the
/// budget. Ranks share the tokenizing and stop once the budget is met. InputError where a file cannot be
/// used, ids reach `vocab_size`, there are fewer tokens than the budget, or none, or no response where they
/// are asked for. `tokenizer` may be null where all are token files.
TokenSet load_sequences(const Communicator& comm, const std::vector<std::filesystem::path>& files,
                        const Tokenizer* tokenizer, const SequenceOptions& options, std::int32_t vocab_size);

}  // namespace galapagos
