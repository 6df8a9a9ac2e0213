#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/search/token_draw.hpp>

// A search without a model, whose evaluations only sleep: what it is about, and how long it has to take.
namespace galapagos::bench {

/// A space of no model: 32 layers with ten levels each.
inline SearchSpace synthetic_space() {
  SearchSpace space;
  for (std::int64_t layer = 0; layer < 32; ++layer) {
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
      ModuleChoices choices;
      choices.id = {layer, kind};
      for (std::int64_t level = 10; level >= 0; --level)
        choices.parameters.push_back(level * (kind == ModuleKind::ffn ? 300 : 100));
      space.modules.push_back(std::move(choices));
    }
  }
  return space;
}

/// What such a candidate loses.
inline double synthetic_loss(const Assignment& candidate) {
  double sum = 0;
  for (std::size_t i = 0; i < candidate.size(); ++i)
    sum += (1.5 + std::sin(1.7 * static_cast<double>(i))) * candidate[i] * candidate[i];
  return sum;
}

/// How long its evaluation lasts: exponential, and of candidate and tokens alone.
inline double random_seconds(const Assignment& candidate, const TokenDraw& draw, double mean) {
  Hash64 hash;
  hash.add(std::as_bytes(std::span(candidate)));
  hash.add(std::as_bytes(std::span(draw.tokens)));
  std::mt19937_64 random(hash.value());
  return std::exponential_distribution<double>(1 / mean)(random);
}

/// Ranks that share the evaluations of each group of islands.
inline std::vector<std::size_t> workers(int ranks, std::int64_t islands) {
  const auto size = static_cast<std::int64_t>(ranks);
  const std::int64_t groups = std::min(size, islands);
  std::vector<std::size_t> found(static_cast<std::size_t>(groups));
  for (std::int64_t rank = 0; rank < size; ++rank) ++found[static_cast<std::size_t>(rank * groups / size)];
  return found;
}

/// When the last of these ends, where each begins, in their order, as soon as a worker is free.
inline double greedy_seconds(const std::vector<double>& durations, std::size_t workers) {
  std::vector<double> ends(workers);
  for (const double seconds : durations) *std::min_element(ends.begin(), ends.end()) += seconds;
  return *std::max_element(ends.begin(), ends.end());
}

}  // namespace galapagos::bench
