#include "island.hpp"

#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <numeric>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// Candidates by fitness, ties in their order; what is not a number goes last.
std::vector<Candidate> ranked(std::vector<Assignment> assignments, const std::vector<double>& fitness) {
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < assignments.size(); ++i) {
    const double value = std::isnan(fitness[i]) ? std::numeric_limits<double>::infinity() : fitness[i];
    candidates.push_back({std::move(assignments[i]), value});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.fitness < b.fitness; });
  return candidates;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

bool contains(const std::vector<Assignment>& all, const Assignment& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// How the candidates of a generation came into it.
using Origins = std::map<Assignment, Origin>;

/// `expected` may be empty.
std::vector<Measurement> measurements(const std::vector<Assignment>& candidates,
                                      const std::vector<double>& fitness, const std::vector<double>& expected,
                                      const Origins& origins) {
  std::vector<Measurement> all;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    all.push_back({candidates[i], fitness[i], expected.empty() ? 0 : expected[i], origins.at(candidates[i])});
  }
  return all;
}

}  // namespace

bool run_generation(const SearchSpace& space, const Strategy& strategy, const EvolutionOptions& options,
                    const TokenPools& pools, const IslandGeneration& turn, const SurrogateMoments& moments,
                    const GroupFitness& fitness, const FetchImmigrants& immigrants, IslandState& state,
                    GenerationReport& report) {
  const Assignment parent = state.elites.front().assignment;
  const Surrogate surrogate = space.has_end_losses() ? fit(space, moments) : Surrogate();
  std::vector<Assignment> candidates;
  Origins origins = {{parent, Origin::parent}};
  for (Offspring& one : strategy.propose(turn, state, {surrogate, moments})) {
    origins[one.assignment] = one.origin;
    candidates.push_back(std::move(one.assignment));
  }
  state.measured.clear();
  std::vector<Candidate> order;
  for (std::size_t stage = 0; stage < options.stages.size(); ++stage) {
    const bool last = stage + 1 == options.stages.size();
    if (last) {
      // Whoever has survived here before stays first where fitness is equal.
      if (!contains(candidates, parent)) candidates.insert(candidates.begin(), parent);
      const auto arrived = immigrants();
      if (!arrived) return false;
      for (const Assignment& immigrant : *arrived) {
        if (contains(candidates, immigrant)) continue;
        candidates.push_back(immigrant);
        origins[immigrant] = Origin::immigrant;
        ++report.immigrants;
      }
    }
    const SelectionStage& rule = options.stages[stage];
    const auto random = [&](Draw kind) {
      return stream(options.seed, turn.island, turn.generation, static_cast<std::int64_t>(stage), kind);
    };
    const StageTokens tokens{draw_tokens(pools.compared, rule.tokens, random(Draw::tokens)),
                             draw_tokens(pools.training, rule.training_tokens, random(Draw::training))};
    const auto values = fitness(parent, candidates, tokens);
    if (!values) return false;
    state.evaluations += static_cast<std::int64_t>(candidates.size());
    state.tokens += static_cast<std::int64_t>(candidates.size()) * rule.tokens;
    state.training_tokens += static_cast<std::int64_t>(candidates.size()) * rule.training_tokens;
    std::vector<double> predicted, expected;
    if (space.has_end_losses()) {
      for (const Assignment& candidate : candidates) {
        predicted.push_back(space.predicted_loss(candidate));
        expected.push_back(expected_loss(space, surrogate, candidate));
      }
    }
    state.measured.push_back({static_cast<std::int64_t>(stage), rule.tokens,
                              measurements(candidates, *values, expected, origins)});
    if (stage == 0 && !values->empty()) {
      report.mean = mean_of(*values);
      if (space.has_end_losses()) {
        report.predicted = mean_of(predicted);
        report.ranks = rank_sums(predicted, *values);
        report.surrogate_ranks = rank_sums(expected, *values);
        state.ranks += report.ranks;
        state.surrogate_ranks += report.surrogate_ranks;
      }
    }
    order = ranked(std::move(candidates), *values);
    if (!order.empty() && !std::isfinite(order.front().fitness)) {
      throw NumericalError(fmt::format("no candidate of island {} has a finite fitness in generation {}",
                                       turn.island, turn.generation),
                           "search", "use --precision fp32, or other calibration data");
    }
    const auto survivors = std::min(order.size(), static_cast<std::size_t>(rule.survivors));
    candidates.clear();
    for (std::size_t i = 0; i < survivors; ++i) candidates.push_back(order[i].assignment);
  }
  strategy.accept(turn, std::move(order), state);
  if (state.memory.size() > strategy.memory()) {
    throw FailureError(fmt::format("a strategy remembers {} numbers instead of up to {}", state.memory.size(),
                                   strategy.memory()),
                       "search", "report this as a defect");
  }
  report.improved = state.elites.front().assignment != parent;
  return true;
}

}  // namespace galapagos
