#include "support/catch.hpp"

#include <algorithm>
#include <map>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/calibration_batches.hpp>

namespace galapagos {
namespace {

const std::optional<std::string> option = "--compensate auto";

/// Documents of the given numbers of sequences, each of 1 to 5 tokens, whose ids are their document's number.
TokenSet documents(const std::vector<int>& sequences) {
  TokenSet set;
  for (std::size_t d = 0; d < sequences.size(); ++d) {
    for (int s = 0; s < sequences[d]; ++s) {
      set.tokens.insert(set.tokens.end(), 1 + (d + static_cast<std::size_t>(s)) % 5,
                        static_cast<std::int32_t>(d));
      set.offsets.push_back(set.tokens.size());
      set.documents.push_back(static_cast<std::uint32_t>(d));
    }
  }
  return set;
}

/// How often every id is in batches [first, last).
std::map<std::int32_t, int> ids_of(const CalibrationBatches& batches, std::size_t first, std::size_t last) {
  std::map<std::int32_t, int> ids;
  for (std::size_t b = first; b < last; ++b)
    for (const std::int32_t id : batches.all[b].tokens) ++ids[id];
  return ids;
}

}  // namespace

TEST_CASE("ridges are chosen on an eighth of the text, in documents that nothing is fitted to",
          "[calibration]") {
  std::vector<int> lengths;
  for (int d = 0; d < 60; ++d) lengths.push_back(1 + (7 * d) % 11);
  const TokenSet given = documents(lengths);
  TokenSet shuffled;  // pieces of a document lie apart
  std::vector<std::uint32_t> order;
  for (std::uint32_t step = 0; step < 7; ++step)
    for (std::uint32_t s = step; s < given.sequences(); s += 7) order.push_back(s);
  shuffled = select_sequences(given, order);
  for (TokenSet set : {given, shuffled}) {
    const CalibrationBatches batches = calibration_batches(set, 16, option);
    const auto fitted = ids_of(batches, 0, batches.fitted),
               held = ids_of(batches, batches.fitted, batches.all.size());
    int tokens = 0;
    for (const auto& [id, count] : held) {
      CHECK(!fitted.contains(id));
      tokens += count;
    }
    CHECK(fitted.size() + held.size() == lengths.size());
    const double part = tokens / static_cast<double>(given.tokens.size());
    CHECK(part > 0.1);
    CHECK(part <= 0.125);
    auto all = ids_of(batches, 0, batches.all.size());
    for (const std::int32_t id : given.tokens) --all[id];
    CHECK(std::all_of(all.begin(), all.end(), [](const auto& entry) { return entry.second == 0; }));
  }
}

TEST_CASE("of eight documents of which each is longer than all before, the shortest is held out",
          "[calibration]") {
  TokenSet set = documents({10, 20, 40, 80, 160, 320, 640, 1280});
  const CalibrationBatches batches = calibration_batches(set, 1000, option);
  const auto held = ids_of(batches, batches.fitted, batches.all.size());
  REQUIRE(held.size() == 1);
  CHECK(held.begin()->first == 0);
}

TEST_CASE("of few documents the last eighth is held out, and without ridges nothing is", "[calibration]") {
  const TokenSet given = documents({30, 30, 30});
  TokenSet set = given;
  const CalibrationBatches batches = calibration_batches(set, 1 << 20, option);
  REQUIRE(batches.all.size() == 2);
  CHECK(batches.fitted == 1);
  CHECK(std::ssize(batches.all[0].offsets) - 1 == 90 - 90 / 8);
  CHECK(std::ssize(batches.all[1].offsets) - 1 == 90 / 8);
  CHECK(set.fingerprint() == given.fingerprint());

  const CalibrationBatches plain = calibration_batches(set, 16, std::nullopt);
  CHECK(plain.fitted == plain.all.size());
  CHECK(plain.all.front().tokens.data() == set.tokens.data());

  TokenSet few = documents({7});
  CHECK_THROWS_AS(calibration_batches(few, 16, option), InputError);
}

}  // namespace galapagos
