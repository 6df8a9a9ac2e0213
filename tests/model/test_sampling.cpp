#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include <galapagos/model/sampling.hpp>

using namespace galapagos;

namespace {

/// The probabilities that are left, as defined: by sorting all ids.
std::vector<double> filtered(const std::vector<float>& logits, const Sampling& sampling) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t id) { return logits[id]; });
  if (sampling.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(sampling.top_k)));
  std::vector<double> probabilities(logits.size(), 0.0);
  double sum = 0;
  for (const std::size_t id : order) {
    probabilities[id] = std::exp(static_cast<double>(logits[id]) / sampling.temperature);
    sum += probabilities[id];
  }
  double kept = 0;
  for (const std::size_t id : order) {
    const bool stays = kept < sampling.top_p * sum || kept == 0;
    if (stays) {
      kept += probabilities[id];
    } else {
      probabilities[id] = 0;
    }
  }
  for (double& probability : probabilities) probability /= kept;
  return probabilities;
}

}  // namespace

TEST_CASE("ids are drawn as often as their probabilities say, and none that is left out", "[generation]") {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 2);
  for (const Sampling& sampling : {Sampling{1, 5, 1},
                                   {0.5, 0, 0.9},
                                   {2, 20, 0.7},
                                   {1, 1, 1},
                                   {1, 0, 1e-9},
                                   {0.01, 0, 0.5},
                                   {3, 1000, 0.999}}) {
    std::vector<float> logits(300);
    for (float& logit : logits) logit = normal(random);
    const std::vector<double> wanted = filtered(logits, sampling);
    // Of evenly spaced numbers each id gets its share, to within one.
    constexpr int draws = 20000;
    std::vector<double> found(logits.size(), 0.0);
    for (int i = 0; i < draws; ++i)
      found[static_cast<std::size_t>(draw_filtered(logits, sampling, (i + 0.5) / draws))] += 1;
    for (std::size_t id = 0; id < logits.size(); ++id) {
      CAPTURE(sampling.temperature, sampling.top_k, sampling.top_p, id);
      if (std::abs(found[id] - wanted[id] * draws) > 1.01) CHECK(found[id] == wanted[id] * draws);
      if (wanted[id] == 0 && found[id] != 0) CHECK(found[id] == 0);
    }
  }
}

TEST_CASE("equal logits are kept by their ids", "[generation]") {
  const std::vector<float> logits(10, 1.0f);
  std::map<std::int32_t, int> found;
  for (int i = 0; i < 100; ++i) ++found[draw_filtered(logits, {1, 4, 1}, i / 100.0)];
  CHECK(found == std::map<std::int32_t, int>{{0, 25}, {1, 25}, {2, 25}, {3, 25}});
  CHECK(draw_filtered(logits, {1, 4, 1}, 0.9999999999999999) == 3);
}

TEST_CASE("the numbers for a seed, a prompt and a position are even and have nothing in common",
          "[generation]") {
  constexpr std::size_t cells = 16;
  constexpr int draws = 40000;
  const auto chi_square = [&](const auto& number) {
    std::vector<double> counts(cells, 0.0);
    for (std::uint64_t i = 0; i < draws; ++i) {
      const double value = number(i);
      REQUIRE(value >= 0);
      REQUIRE(value < 1);
      ++counts[static_cast<std::size_t>(value * cells)];
    }
    double sum = 0;
    for (const double count : counts) sum += std::pow(count - draws / 16.0, 2) / (draws / 16.0);
    return sum;
  };
  constexpr double one_in_a_million = 55;  // of 15 degrees of freedom
  CHECK(chi_square([](std::uint64_t i) { return uniform_for(1, 2, i); }) < one_in_a_million);
  CHECK(chi_square([](std::uint64_t i) { return uniform_for(1, i, 2); }) < one_in_a_million);
  CHECK(chi_square([](std::uint64_t i) { return uniform_for(i, 1, 2); }) < one_in_a_million);
  // Of neighbours, in whatever way, the products' cells are as even.
  for (const auto& [prompt, position] : {std::pair{1, 0}, {0, 1}, {1, 1}}) {
    CHECK(chi_square([&, a = static_cast<std::uint64_t>(prompt),
                      b = static_cast<std::uint64_t>(position)](std::uint64_t i) {
            const double sum = uniform_for(7, 5, i) + uniform_for(7, 5 + a, i + b);
            return sum - std::floor(sum);
          }) < one_in_a_million);
  }
  CHECK(uniform_for(1, 2, 3) == uniform_for(1, 2, 3));
  CHECK(uniform_for(1, 2, 3) != uniform_for(1, 3, 2));
  CHECK(uniform_for(std::uint64_t{1} << 40, 0, 0) != uniform_for(0, std::uint64_t{1} << 40, 0));
}
