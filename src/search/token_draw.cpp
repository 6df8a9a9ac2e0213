#include <algorithm>
#include <numeric>

#include <galapagos/search/token_draw.hpp>

namespace galapagos {

TokenDraw draw_tokens(const TokenSet& pool, std::int64_t tokens, RandomStream random) {
  return draw_tokens(pool, tokens, random, {});
}

TokenDraw draw_tokens(const TokenSet& pool, std::int64_t tokens, RandomStream random,
                      std::span<const std::uint32_t> left_out) {
  if (tokens == 0) return {};
  std::vector<std::uint32_t> order(pool.sequences());
  std::iota(order.begin(), order.end(), 0u);
  if (!left_out.empty()) {
    std::vector<bool> out(pool.sequences(), false);
    for (const std::uint32_t sequence : left_out) out[sequence] = true;
    std::erase_if(order, [&](std::uint32_t sequence) { return out[sequence]; });
  }
  if (tokens < static_cast<std::int64_t>(pool.tokens.size())) random.shuffle(order, order.size());
  TokenDraw draw;
  auto left = static_cast<std::size_t>(tokens);
  for (std::size_t i = 0; i < order.size() && left > 0; ++i) {
    const std::span<const std::int32_t> sequence = pool.sequence(order[i]);
    const std::size_t count = std::min(left, sequence.size());
    draw.sequences.push_back(order[i]);
    draw.tokens.insert(draw.tokens.end(), sequence.begin(),
                       sequence.begin() + static_cast<std::ptrdiff_t>(count));
    draw.offsets.push_back(draw.tokens.size());
    left -= count;
  }
  return draw;
}

}  // namespace galapagos
