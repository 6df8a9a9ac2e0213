#include "support/catch.hpp"

#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include <galapagos/core/random.hpp>

using namespace galapagos;

TEST_CASE("philox gives the published answers", "[random]") {
  // Known answers that come with the authors' own implementation.
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream is a function of seed and name", "[random]") {
  const auto first = [](std::uint64_t seed, const RandomStream::Name& name) {
    RandomStream stream(seed, name);
    return std::array{stream.next(), stream.next(), stream.next(), stream.next(), stream.next()};
  };
  CHECK(first(7, {1, 2, 3, 4}) == first(7, {1, 2, 3, 4}));
  std::set<std::array<std::uint32_t, 5>> all = {
      first(7, {1, 2, 3, 4}), first(8, {1, 2, 3, 4}),   first(7 + (std::uint64_t{1} << 32), {1, 2, 3, 4}),
      first(7, {2, 2, 3, 4}), first(7, {1, 3, 3, 4}),   first(7, {1, 2, 4, 4}),
      first(7, {1, 2, 3, 5}), first(7, {1, 2, 259, 4}),
  };
  CHECK(all.size() == 8);
  CHECK_THROWS(RandomStream(0, {0, 0, 1u << 24, 0}));
}

TEST_CASE("a stream goes on where numbers were passed over", "[random]") {
  for (const std::uint64_t drawn : {0, 1, 3, 4, 7}) {
    for (const std::uint64_t skipped : {0, 1, 2, 3, 4, 5, 17, 1000}) {
      RandomStream whole(5, {}), part(5, {});
      for (std::uint64_t i = 0; i < drawn; ++i) CHECK(part.next() == whole.next());
      part.skip(skipped);
      for (std::uint64_t i = 0; i < skipped; ++i) whole.next();
      for (int i = 0; i < 6; ++i) CHECK(part.next() == whole.next());
    }
  }
}

TEST_CASE("bounded numbers and permutations are uniform", "[random]") {
  RandomStream stream(3, {});
  for (const std::uint32_t count : {1u, 2u, 3u, 7u, 100u}) {
    std::vector<double> seen(count, 0.0);
    constexpr int draws = 70000;
    for (int i = 0; i < draws; ++i) ++seen.at(stream.below(count));
    const double expected = static_cast<double>(draws) / count;
    double chi = 0;
    for (const double n : seen) chi += (n - expected) * (n - expected) / expected;
    // Mean count - 1, standard deviation sqrt(2 (count - 1)).
    CHECK(chi < count - 1 + 6 * std::sqrt(2.0 * count) + 1);
  }
  std::vector<std::vector<int>> place(5, std::vector<int>(5, 0));
  for (int i = 0; i < 20000; ++i) {
    std::vector<int> values(5);
    std::iota(values.begin(), values.end(), 0);
    stream.shuffle(values, 3);
    CHECK(std::accumulate(values.begin(), values.end(), 0) == 10);
    for (std::size_t at = 0; at < 3; ++at) ++place[at][static_cast<std::size_t>(values[at])];
  }
  for (std::size_t at = 0; at < 3; ++at) {
    for (const int n : place[at]) CHECK(std::abs(n - 4000) < 350);
  }
}
