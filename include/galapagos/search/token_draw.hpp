#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/core/random.hpp>
#include <galapagos/io/token_source.hpp>

namespace galapagos {

/// The tokens on which candidates are compared: whole sequences of a pool, the last one cut.
struct TokenDraw {
  std::vector<std::uint32_t> sequences;  ///< of the pool
  std::vector<std::int32_t> tokens;      ///< theirs, one after the other
  std::vector<std::uint64_t> offsets = {0};

  /// Tokens that are predicted: all but the first of each sequence.
  std::int64_t predicted() const { return static_cast<std::int64_t>(tokens.size() - sequences.size()); }
};

/// Exactly `tokens` tokens of the pool, in a random order of its sequences; all of it, in order, where
/// `tokens` is its size. The pool has to have them.
TokenDraw draw_tokens(const TokenSet& pool, std::int64_t tokens, RandomStream random);
/// The same but for some sequences of the pool, `left_out`; fewer tokens where there are not as many.
TokenDraw draw_tokens(const TokenSet& pool, std::int64_t tokens, RandomStream random,
                      std::span<const std::uint32_t> left_out);

}  // namespace galapagos
