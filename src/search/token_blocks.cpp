#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/search/token_blocks.hpp>

namespace galapagos {
namespace {

void append(const TokenDraw& block, TokenDraw& all) {
  const std::uint64_t before = all.tokens.size();
  all.sequences.insert(all.sequences.end(), block.sequences.begin(), block.sequences.end());
  all.tokens.insert(all.tokens.end(), block.tokens.begin(), block.tokens.end());
  for (std::size_t i = 1; i < block.offsets.size(); ++i) all.offsets.push_back(before + block.offsets[i]);
}

/// Where a segment of so many predicted tokens begins.
std::int64_t begin_of(std::int64_t predicted, std::size_t segments, std::size_t segment) {
  return predicted * static_cast<std::int64_t>(segment) / static_cast<std::int64_t>(segments);
}

}  // namespace

std::int64_t blocks_held_back(std::int64_t blocks, double held_back) {
  std::int64_t kept = std::llround(held_back * static_cast<double>(blocks));
  if (held_back > 0) kept = std::max<std::int64_t>(kept, 1);
  return std::max<std::int64_t>(0, std::min(kept, blocks - 1));
}

TokenBlocks cut_blocks(const TokenSet& pool, std::int64_t tokens, double held_back, RandomStream random) {
  std::vector<std::uint32_t> order(pool.sequences());
  std::iota(order.begin(), order.end(), 0u);
  random.shuffle(order, order.size());
  std::vector<TokenDraw> blocks;
  TokenDraw block;
  for (const std::uint32_t which : order) {
    const std::span<const std::int32_t> sequence = pool.sequence(which);
    const std::size_t count =
        std::min(static_cast<std::size_t>(tokens) - block.tokens.size(), sequence.size());
    if (count == 0) continue;
    block.sequences.push_back(which);
    block.tokens.insert(block.tokens.end(), sequence.begin(),
                        sequence.begin() + static_cast<std::ptrdiff_t>(count));
    block.offsets.push_back(block.tokens.size());
    if (std::ssize(block.tokens) < tokens) continue;
    if (block.predicted() > 0) blocks.push_back(std::move(block));
    block = {};
  }
  if (blocks.empty()) {
    throw UsageError(fmt::format("a block of {} tokens, of which the {} calibration tokens give none", tokens,
                                 pool.tokens.size()),
                     "--block-tokens", "give more calibration data, or fewer tokens");
  }
  const std::int64_t kept = blocks_held_back(std::ssize(blocks), held_back);
  TokenBlocks cut;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (static_cast<std::int64_t>(i) < kept) {
      append(blocks[i], cut.held_back);
    } else {
      cut.raced.push_back(std::move(blocks[i]));
    }
  }
  return cut;
}

std::size_t segments_of(const TokenDraw& draw) {
  return std::min(most_segments, static_cast<std::size_t>(draw.predicted()));
}

std::int64_t tokens_of_segment(const TokenDraw& draw, std::size_t segment) {
  const std::size_t segments = segments_of(draw);
  return begin_of(draw.predicted(), segments, segment + 1) - begin_of(draw.predicted(), segments, segment);
}

std::vector<double> segment_sums(std::span<const double> losses, const TokenDraw& draw) {
  const std::size_t segments = segments_of(draw);
  std::vector<double> sums(segments, 0.0);
  std::int64_t predicted = 0;
  std::size_t segment = 0;
  for (std::size_t s = 0; s + 1 < draw.offsets.size(); ++s) {
    for (std::uint64_t i = draw.offsets[s]; i + 1 < draw.offsets[s + 1]; ++i, ++predicted) {
      while (predicted >= begin_of(draw.predicted(), segments, segment + 1)) ++segment;
      sums[segment] += losses[i];
    }
  }
  return sums;
}

}  // namespace galapagos
