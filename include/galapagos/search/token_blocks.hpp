#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/search/token_draw.hpp>

namespace galapagos {

/// A pool of tokens as the strategy racing sees it: in blocks of equally many tokens, in a random order.
struct TokenBlocks {
  std::vector<TokenDraw> raced;  ///< on which candidates are raced
  TokenDraw held_back;           ///< on which the end is chosen, all blocks as one draw; may be empty
};

/// Of so many blocks, those that are held back: the share `held_back`, rounded, one at least where it is not
/// 0, but never all.
std::int64_t blocks_held_back(std::int64_t blocks, double held_back);

/// Blocks of exactly `tokens` tokens, whole sequences of which each block's last one is cut; what is left of
/// that is in no block. Of the blocks, blocks_held_back() are held back. UsageError where the pool does not
/// have enough tokens for a block.
TokenBlocks cut_blocks(const TokenSet& pool, std::int64_t tokens, double held_back, RandomStream random);

/// Pieces that the predicted tokens of a draw are cut into, in order, as evenly as can be: how much a
/// difference varies between them says how sure it is.
inline constexpr std::size_t most_segments = 16;
std::size_t segments_of(const TokenDraw& draw);
/// Predicted tokens of a segment.
std::int64_t tokens_of_segment(const TokenDraw& draw, std::size_t segment);
/// The losses of a draw's tokens summed up over each segment; a sequence's last token does not count.
std::vector<double> segment_sums(std::span<const double> losses, const TokenDraw& draw);

}  // namespace galapagos
