#include "support/catch.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/training/sampler.hpp>

using namespace galapagos;

namespace {

using Indices = std::vector<std::uint32_t>;

// Sequences of these lengths, each token another one.
TokenSet sequences_of(const std::vector<std::size_t>& lengths) {
  TokenSet set;
  for (const std::size_t length : lengths) {
    for (std::size_t i = 0; i < length; ++i)
      set.tokens.push_back(static_cast<std::int32_t>(set.tokens.size()));
    set.offsets.push_back(set.tokens.size());
  }
  return set;
}

// Lengths 1 to 7 over and over: 40 sequences, 34 of which predict something.
TokenSet many() {
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < 40; ++i) lengths.push_back(i % 7 + 1);
  return sequences_of(lengths);
}

}  // namespace

TEST_CASE("every time round is a new permutation of the sequences that predict something", "[sampler]") {
  const TokenSet data = many();
  Sampler sampler(data, 5);
  Indices usable;
  std::int64_t tokens = 0;
  for (std::uint32_t s = 0; s < data.sequences(); ++s) {
    if (data.sequence(s).size() < 2) continue;
    usable.push_back(s);
    tokens += static_cast<std::int64_t>(data.sequence(s).size());
  }
  CHECK(sampler.tokens() == tokens);
  std::set<Indices> orders;
  DataPosition position;
  for (std::int64_t round = 1; round <= 5; ++round) {
    Indices taken;
    while (taken.size() < usable.size()) taken.push_back(sampler.take(position, 1).at(0));
    CHECK(position.tokens == round * tokens);
    orders.insert(taken);
    std::sort(taken.begin(), taken.end());
    CHECK(taken == usable);
  }
  CHECK(orders.size() == 5);
  Sampler other(data, 6);
  DataPosition start, again;
  CHECK(other.take(start, 100) != Sampler(data, 5).take(again, 100));
}

TEST_CASE("what comes next depends on the position alone", "[sampler]") {
  const TokenSet data = many();
  Sampler whole(data, 5);
  DataPosition position;
  std::vector<DataPosition> positions;
  std::vector<Indices> taken;
  for (int update = 0; update < 40; ++update) {  // some times round
    positions.push_back(position);
    taken.push_back(whole.take(position, 17));
    std::int64_t tokens = 0;
    for (const std::uint32_t s : taken.back()) tokens += static_cast<std::int64_t>(data.sequence(s).size());
    CHECK(tokens >= 17);
    CHECK(tokens - static_cast<std::int64_t>(data.sequence(taken.back().back()).size()) < 17);
    CHECK(position.tokens == positions.back().tokens + tokens);
  }
  CHECK(position.sequences > 3 * 34);
  for (const std::size_t update : {39u, 3u, 20u, 0u}) {  // forwards, backwards, and in a new one
    DataPosition there = positions[update], fresh = positions[update];
    CHECK(whole.take(there, 17) == taken[update]);
    CHECK(Sampler(data, 5).take(fresh, 17) == taken[update]);
  }
}

TEST_CASE("updates are counted as a run takes them", "[sampler]") {
  const TokenSet data = many();
  for (const std::int64_t budget : {1, 16, 17, 18, 100, 1000}) {
    Sampler sampler(data, 5), run(data, 5);
    DataPosition position;
    std::int64_t updates = 0;
    for (; position.tokens < budget; ++updates)
      run.take(position, std::min<std::int64_t>(17, budget - position.tokens));
    CHECK(sampler.count_updates(17, budget) == updates);
    CHECK(position.tokens - budget < 7);  // less than a sequence too many
    DataPosition start, again;
    CHECK(sampler.take(start, 17) == Sampler(data, 5).take(again, 17));  // counting has no effect
  }
}

TEST_CASE("sequences of one token only are refused", "[sampler]") {
  const TokenSet data = sequences_of({1, 1, 1});
  CHECK_THROWS_AS(Sampler(data, 0), InputError);
}

TEST_CASE("sequences are selected in the order asked for", "[sampler]") {
  const TokenSet data = sequences_of({3, 1, 2, 4});
  const Indices which = {2, 0, 2};
  const TokenSet selected = select_sequences(data, which);
  CHECK(selected.tokens == std::vector<std::int32_t>{4, 5, 0, 1, 2, 4, 5});
  CHECK(selected.offsets == std::vector<std::uint64_t>{0, 2, 5, 7});
  CHECK(select_sequences(data, {}).sequences() == 0);
}
