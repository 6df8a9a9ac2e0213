#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include <galapagos/search/archive.hpp>
#include <galapagos/search/gains.hpp>
#include <galapagos/search/race_lines.hpp>

using namespace galapagos;
using test::contains;
using test::message_of;

namespace {

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

TokenSet pool_of(const std::vector<std::size_t>& lengths) {
  TokenSet pool;
  pool.offsets = {0};
  for (const std::size_t length : lengths) {
    for (std::size_t i = 0; i < length; ++i)
      pool.tokens.push_back(static_cast<std::int32_t>(pool.tokens.size()));
    pool.offsets.push_back(pool.tokens.size());
  }
  return pool;
}

std::vector<double> random_losses(std::size_t count, std::mt19937& random) {
  std::normal_distribution<double> normal(1, 2);
  std::vector<double> losses(count);
  for (double& loss : losses) loss = normal(random);
  return losses;
}

MeasuredTrial some_trial() {
  MeasuredTrial trial;
  trial.island = 2;
  trial.generation = 7;
  trial.index = 3;
  trial.block = 1;
  trial.trial = {{0, 3, 2, 1}, Origin::crossover, -0.1 / 3};
  trial.sums = {1.0 / 3, no_number, -0.0, 1e-300};
  return trial;
}

}  // namespace

TEST_CASE("blocks are disjoint, of the tokens asked for, and some are held back", "[racing]") {
  std::vector<std::size_t> lengths;
  for (std::size_t i = 0; i < 60; ++i) lengths.push_back(1 + i % 13);
  const TokenSet pool = pool_of(lengths);
  for (const double held_back : {0.0, 0.01, 0.25, 0.9}) {
    const TokenBlocks blocks = cut_blocks(pool, 20, held_back, RandomStream(3, {}));
    std::set<std::uint32_t> seen;
    std::size_t sequences = 0;
    const auto check = [&](const TokenDraw& draw) {
      CHECK(draw.tokens.size() % 20 == 0);
      CHECK(draw.offsets.back() == draw.tokens.size());
      for (std::size_t s = 0; s < draw.sequences.size(); ++s) {
        seen.insert(draw.sequences[s]);
        ++sequences;
        for (std::uint64_t i = draw.offsets[s]; i < draw.offsets[s + 1]; ++i)
          CHECK(draw.tokens[i] == pool.sequence(draw.sequences[s])[i - draw.offsets[s]]);
      }
    };
    for (const TokenDraw& block : blocks.raced) {
      CHECK(block.tokens.size() == 20);
      check(block);
    }
    check(blocks.held_back);
    CHECK(seen.size() == sequences);
    const auto all =
        static_cast<double>(blocks.raced.size()) + static_cast<double>(blocks.held_back.tokens.size()) / 20;
    CHECK(all >= 17);  // of 416 tokens, whatever is cut off
    const double held = all - static_cast<double>(blocks.raced.size());
    if (held_back == 0) CHECK(held == 0);
    if (held_back > 0) CHECK(held == std::max(1.0, std::min(all - 1, std::round(held_back * all))));
  }
  const TokenBlocks one = cut_blocks(pool_of({7, 5}), 10, 0.5, RandomStream(1, {}));
  CHECK(one.raced.size() == 1);  // the last is never held back
  CHECK(one.held_back.tokens.empty());
  CHECK(contains(message_of<UsageError>([] {
                   cut_blocks(pool_of({7, 5}), 13, 0.1, RandomStream(1, {}));
                 }),
                 "--block-tokens"));
}

TEST_CASE("segments share out a draw's predicted tokens", "[racing]") {
  std::mt19937 random(5);
  for (const std::vector<std::size_t>& lengths :
       {std::vector<std::size_t>{2}, {1, 3, 2}, {40, 1, 39}, {5, 5, 5, 5, 5, 5}, {300}}) {
    const TokenSet pool = pool_of(lengths);
    const TokenDraw draw =
        draw_tokens(pool, static_cast<std::int64_t>(pool.tokens.size()), RandomStream(1, {}));
    std::vector<double> losses = random_losses(draw.tokens.size(), random), predicted;
    for (std::size_t s = 0; s + 1 < draw.offsets.size(); ++s) {
      for (std::uint64_t i = draw.offsets[s]; i + 1 < draw.offsets[s + 1]; ++i)
        predicted.push_back(losses[i]);
      losses[draw.offsets[s + 1] - 1] = no_number;  // predicts nothing
    }
    const std::vector<double> sums = segment_sums(losses, draw);
    CHECK(sums.size() == std::min<std::size_t>(16, predicted.size()));
    std::size_t at = 0;
    for (std::size_t s = 0; s < sums.size(); ++s) {
      const auto count = static_cast<std::size_t>(tokens_of_segment(draw, s));
      CHECK(count >= predicted.size() / sums.size());
      CHECK(count <= predicted.size() / sums.size() + 1);
      double sum = 0;
      for (std::size_t i = 0; i < count; ++i) sum += predicted[at++];
      CHECK(sums[s] == Approx(sum).margin(1e-12));
    }
    CHECK(at == predicted.size());
  }
}

TEST_CASE("an archive pairs what was measured on the same blocks", "[racing]") {
  std::mt19937 random(6);
  const TokenSet pool = pool_of(std::vector<std::size_t>(40, 17));
  const TokenBlocks blocks = cut_blocks(pool, 68, 0, RandomStream(2, {}));
  const std::vector<Assignment> assignments = {{0, 1}, {1, 0}, {2, 2}};
  const std::vector<std::set<std::int64_t>> measured = {{0, 1, 2, 5}, {1, 2, 3}, {4}};
  Archive archive(blocks.raced);
  std::map<std::pair<std::size_t, std::int64_t>, std::vector<double>> all;
  for (std::size_t a = 0; a < assignments.size(); ++a) {
    for (const std::int64_t block : measured[a]) {
      const TokenDraw& draw = blocks.raced[static_cast<std::size_t>(block)];
      const std::vector<double> losses = random_losses(draw.tokens.size(), random);
      all[{a, block}] = losses;
      archive.add(assignments[a], block, segment_sums(losses, draw));
      archive.add(assignments[a], block, std::vector<double>(16, 1e9));  // what is there stays
    }
    CHECK(archive.blocks_of(assignments[a]) == static_cast<std::int64_t>(measured[a].size()));
  }
  CHECK(archive.has(assignments[0], 5));
  CHECK(!archive.has(assignments[0], 3));
  CHECK(!archive.has({2, 0}));
  CHECK(std::isnan(archive.mean({2, 0})));
  CHECK(archive.difference(assignments[0], assignments[2]).blocks == 0);
  CHECK(archive.difference({2, 0}, assignments[2]).blocks == 0);

  // Token by token: the mean, and the spread of the means of as many stretches of tokens as there are
  // segments.
  std::vector<double> differences;
  std::vector<std::vector<double>> stretches;
  for (const std::int64_t block : {1, 2}) {
    const TokenDraw& draw = blocks.raced[static_cast<std::size_t>(block)];
    std::vector<double> of_block;
    for (std::size_t s = 0; s + 1 < draw.offsets.size(); ++s) {
      for (std::uint64_t i = draw.offsets[s]; i + 1 < draw.offsets[s + 1]; ++i)
        of_block.push_back(all.at({0, block})[i] - all.at({1, block})[i]);
    }
    differences.insert(differences.end(), of_block.begin(), of_block.end());
    REQUIRE(of_block.size() == 64);  // 16 segments of 4
    for (std::size_t at = 0; at < 64; at += 4)
      stretches.emplace_back(of_block.begin() + static_cast<long>(at),
                             of_block.begin() + static_cast<long>(at) + 4);
  }
  const double mean = std::accumulate(differences.begin(), differences.end(), 0.0) / 128;
  double squares = 0;
  for (const auto& stretch : stretches) {
    const double of_stretch = std::accumulate(stretch.begin(), stretch.end(), 0.0) / 4;
    squares += (of_stretch - mean) * (of_stretch - mean);
  }
  const LossDifference found = archive.difference(assignments[0], assignments[1]);
  CHECK(found.blocks == 2);
  CHECK(found.mean == Approx(mean));
  CHECK(found.variance == Approx(squares / 31 / 32));
  CHECK(archive.difference(assignments[1], assignments[0]).mean == Approx(-mean));
  CHECK(archive.difference(assignments[1], assignments[1]).mean == 0);
}

TEST_CASE("beliefs about a gain are normal and are learned by moments", "[racing]") {
  // Against sums over a fine grid.
  for (const auto& [mean, deviation] : {std::pair(0.3, 0.7), {-1.2, 0.4}, {0.0, 1.0}, {2.0, 0.5}}) {
    const GainBelief belief{mean, deviation * deviation};
    double better = 0, improvement = 0;
    const double step = deviation / 2000;
    for (double x = mean - 10 * deviation; x < 0; x += step) {
      const double z = (x + step / 2 - mean) / deviation;
      const double weight = std::exp(-z * z / 2) / (deviation * std::sqrt(2 * M_PI)) * step;
      better += weight;
      improvement -= weight * (x + step / 2);
    }
    CHECK(belief.better() == Approx(better).epsilon(1e-3).margin(1e-6));
    CHECK(belief.expected_improvement() == Approx(improvement).epsilon(1e-3).margin(1e-6));
  }
  const GainBelief after = GainBelief{1, 4}.after(3, 1);
  CHECK(after.mean == Approx(1 + 2 * 4.0 / 5));
  CHECK(after.variance == Approx(0.8));
  CHECK(GainBelief{1, infinity}.after(3, 1).mean == 3);
  CHECK(GainBelief{1, 4}.after(no_number, infinity).mean == 1);

  CHECK(GainBelief{0, 0}.better() == 0.5);
  CHECK(GainBelief{-1, 0}.better() == 1);
  CHECK(GainBelief{-1, 0}.expected_improvement() == 1);
  CHECK(GainBelief{1, 0}.expected_improvement() == 0);

  Gains gains;
  CHECK(std::isinf(gains.prior(Origin::mutation).variance));
  CHECK(gains.prior(Origin::mutation).better() == 0.5);
  std::mt19937 random(9);
  std::normal_distribution<double> normal;
  // Two ways: one is good; what is measured has a known noise; what is expected is worth half of what it
  // says.
  for (int i = 0; i < 100; ++i) {
    const double expected = 0.5 * normal(random);
    const double good = 0.2 + 0.5 * expected + 0.3 * normal(random), bad = 1 + 0.3 * normal(random);
    gains.add(Origin::exchange, good + 0.1 * normal(random), 0.01, expected);
    gains.add(Origin::removal, bad + 0.1 * normal(random), 0.01, 0);
    if (i % 20 == 0) gains.add(Origin::removal, 1e6, 0.01, 0);  // far out
  }
  gains.add(Origin::layer, no_number, 0.01, 0);
  const GainBelief good = gains.prior(Origin::exchange), bad = gains.prior(Origin::removal);
  CHECK(good.mean == Approx(0.2).margin(0.1));
  CHECK(bad.mean == Approx(1.05).margin(0.15));
  CHECK(good.variance == Approx(0.09 + 0.0625).margin(0.06));
  CHECK(good.expected_improvement() > bad.expected_improvement());
  CHECK(gains.prior(Origin::exchange, 0.5).mean - gains.prior(Origin::exchange, 0.0).mean ==
        Approx(0.25).margin(0.1));
  const GainBelief unknown = gains.prior(Origin::layer);
  CHECK(unknown.mean > good.mean);
  CHECK(unknown.mean < bad.mean);
}

TEST_CASE("lines of a race read as they were written, and others are refused", "[racing]") {
  const SearchSpace space = test::even_space(2, 3);
  const MeasuredTrial trial = some_trial();
  const auto read = trial_of(to_line(trial), space);
  REQUIRE(read);
  CHECK(to_line(*read) == to_line(trial));
  CHECK(read->trial.expected == trial.trial.expected);
  CHECK(read->sums[0] == trial.sums[0]);
  CHECK(std::isnan(read->sums[1]));
  CHECK(!standing_of(to_line(trial), space));
  Standing standing{1, 4, 5, 60, 3, 2, {3, 3, 0, 1}, 0.1, no_number, true, {{Origin::stride, 0.7}}};
  const auto same = standing_of(to_line(standing), space);
  REQUIRE(same);
  CHECK(to_line(*same) == to_line(standing));
  CHECK(same->loss == standing.loss);
  CHECK(same->shares == standing.shares);
  CHECK(!trial_of(to_line(standing), space));
  for (const std::string& bad : {std::string("{"), std::string("[]"), std::string("{}"), std::string("7")}) {
    CHECK(!trial_of(bad, space));
    CHECK(!standing_of(bad, space));
  }
  CHECK(!trial_of(to_line(trial), test::even_space(3, 3)));
  CHECK(!trial_of(to_line(trial), test::even_space(2, 2)));

  EvolutionOptions options;
  options.islands = 3;
  const TokenBlocks blocks = cut_blocks(pool_of({5, 5}), 5, 0, RandomStream(1, {}));  // of 4 predicted tokens
  const std::string line = to_line(trial) + "\n";
  CHECK(trials_of(line + line + "{\"gener", space, options, blocks.raced, "A").size() == 2);
  const auto refused = [&](const std::string& text, const EvolutionOptions& of) {
    return message_of<InputError>([&] { trials_of(text, space, of, blocks.raced, "A"); });
  };
  CHECK(contains(refused(line + "{\"gener\n", options), "line 2"));
  options.islands = 2;
  CHECK(contains(refused(line, options), "none of this search"));
  options.islands = 3;
  const auto refused_with = [&](const std::function<void(MeasuredTrial&)>& change) {
    MeasuredTrial wrong = some_trial();
    change(wrong);
    return contains(refused(to_line(wrong) + "\n", options), "none of this search");
  };
  CHECK(!refused_with([](MeasuredTrial&) {}));
  CHECK(refused_with([](MeasuredTrial& wrong) { wrong.block = 2; }));
  CHECK(refused_with([](MeasuredTrial& wrong) { wrong.index = -1; }));
  CHECK(refused_with([](MeasuredTrial& wrong) { wrong.generation = -1; }));
  CHECK(refused_with([](MeasuredTrial& wrong) { wrong.sums.pop_back(); }));

  // What a race was told of stands as generation 0 behind a header; another race takes all.
  MeasuredTrial told = trial, other = trial;
  told.generation = 0;
  told.island = 0;
  other.trial.assignment = {0, 0, 0, 0};
  other.island = 40;
  const std::string header = "{\"archive\":1}\n", again = to_line(told) + "\n";
  CHECK(trials_of(header + line + again, space, options, blocks.raced, "A").size() == 1);
  CHECK(contains(refused(line + header, options), "line 2"));
  const std::vector<MeasuredTrial> known =
      known_trials(header + line + again + to_line(other) + "\n{\"gen", space, blocks.raced, "A");
  REQUIRE(known.size() == 2);
  CHECK(known[0].trial.assignment == other.trial.assignment);
  CHECK(known[1].trial.assignment == trial.trial.assignment);
  CHECK(contains(message_of<InputError>([&] { known_trials(header + "{}\n", space, blocks.raced, "A"); }),
                 "line 2 of the archive is damaged"));
}
