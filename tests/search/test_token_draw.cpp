#include "support/catch.hpp"

#include <algorithm>
#include <random>
#include <set>

#include <galapagos/search/token_draw.hpp>

using namespace galapagos;

namespace {

// Sequences of 1 to 40 tokens; each token tells where it stands.
TokenSet numbered_pool(std::size_t sequences) {
  std::mt19937 random(2);
  TokenSet pool;
  for (std::size_t s = 0; s < sequences; ++s) {
    for (std::size_t i = 0; i < 1 + random() % 40; ++i) {
      pool.tokens.push_back(static_cast<std::int32_t>(pool.tokens.size()));
    }
    pool.offsets.push_back(pool.tokens.size());
  }
  return pool;
}

RandomStream random_stream(std::uint32_t generation) {
  return RandomStream(5, {0, generation, 0, 2});
}

}  // namespace

TEST_CASE("a draw is exactly so many tokens of whole sequences, the last one cut", "[token_draw]") {
  const TokenSet pool = numbered_pool(50);
  const auto all = static_cast<std::int64_t>(pool.tokens.size());
  for (std::int64_t tokens = 1; tokens <= all; ++tokens) {
    const TokenDraw draw = draw_tokens(pool, tokens, random_stream(static_cast<std::uint32_t>(tokens)));
    bool sound = static_cast<std::int64_t>(draw.tokens.size()) == tokens &&
                 draw.offsets.size() == draw.sequences.size() + 1 && draw.offsets.front() == 0 &&
                 draw.offsets.back() == draw.tokens.size() &&
                 std::set(draw.sequences.begin(), draw.sequences.end()).size() == draw.sequences.size() &&
                 draw.predicted() == tokens - static_cast<std::int64_t>(draw.sequences.size());
    for (std::size_t s = 0; sound && s < draw.sequences.size(); ++s) {
      const auto sequence = pool.sequence(draw.sequences[s]);
      const std::size_t length = draw.offsets[s + 1] - draw.offsets[s];
      sound = length >= 1 &&
              (s + 1 < draw.sequences.size() ? length == sequence.size() : length <= sequence.size()) &&
              std::equal(sequence.begin(), sequence.begin() + static_cast<std::ptrdiff_t>(length),
                         draw.tokens.begin() + static_cast<std::ptrdiff_t>(draw.offsets[s]));
    }
    INFO(tokens << " tokens");
    CHECK(sound);
  }
}

TEST_CASE("the whole pool is drawn in its order", "[token_draw]") {
  const TokenSet pool = numbered_pool(20);
  const TokenDraw draw = draw_tokens(pool, static_cast<std::int64_t>(pool.tokens.size()), random_stream(0));
  CHECK(draw.tokens == pool.tokens);
  CHECK(draw.offsets == pool.offsets);
  CHECK(std::is_sorted(draw.sequences.begin(), draw.sequences.end()));
}

TEST_CASE("draws are functions of their streams and treat all sequences alike", "[token_draw]") {
  TokenSet pool;
  for (std::int32_t s = 0; s < 12; ++s) {
    pool.tokens.insert(pool.tokens.end(), 5, s);
    pool.offsets.push_back(pool.tokens.size());
  }
  std::vector<int> first(12, 0), any(12, 0);
  constexpr std::uint32_t draws = 6000;
  for (std::uint32_t i = 0; i < draws; ++i) {
    const TokenDraw draw = draw_tokens(pool, 15, random_stream(i));
    if (i < 20) CHECK(draw.tokens == draw_tokens(pool, 15, random_stream(i)).tokens);
    ++first[draw.sequences.front()];
    for (const std::uint32_t s : draw.sequences) ++any[s];
  }
  for (std::size_t s = 0; s < 12; ++s) {
    CHECK(std::abs(first[s] - 500) < 110);
    CHECK(std::abs(any[s] - 1500) < 170);
  }
}
