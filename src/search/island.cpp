#include "island.hpp"

#include "proposals.hpp"
#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <set>

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
struct Origins {
  Origin offspring;
  const Assignment& parent;
  std::set<Assignment> proposals, immigrants = {};

  Origins(const EvolutionOptions& options, const Assignment& best, const std::vector<Assignment>& proposed)
      : offspring(options.strategy == Strategy::random ? Origin::random : Origin::mutation),
        parent(best),
        proposals(proposed.begin(), proposed.end()) {}

  Origin of(const Assignment& one) const {
    if (one == parent) return Origin::parent;
    if (immigrants.contains(one)) return Origin::immigrant;
    return proposals.contains(one) ? Origin::proposal : offspring;
  }
};

/// `expected` may be empty.
std::vector<Measurement> measurements(const std::vector<Assignment>& candidates,
                                      const std::vector<double>& fitness, const std::vector<double>& expected,
                                      const Origins& origins) {
  std::vector<Measurement> all;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    all.push_back({candidates[i], fitness[i], expected.empty() ? 0 : expected[i], origins.of(candidates[i])});
  }
  return all;
}

}  // namespace

std::vector<Assignment> make_offspring(const SearchSpace& space, const Budget& budget,
                                       const EvolutionOptions& options, std::int64_t island,
                                       std::int64_t generation, const Assignment& parent,
                                       const std::vector<Assignment>& proposals) {
  constexpr std::int64_t tries_for_each = 100;
  std::vector<Assignment> offspring;
  std::set<Assignment> known(proposals.begin(), proposals.end());
  known.insert(parent);
  const std::int64_t others = options.offspring - static_cast<std::int64_t>(proposals.size());
  for (std::int64_t individual = 0; individual < others; ++individual) {
    // One stream for all tries of an individual.
    RandomStream random = stream(options.seed, island, generation, individual, Draw::offspring);
    for (std::int64_t attempt = 0; attempt < tries_for_each; ++attempt) {
      Assignment child = options.strategy == Strategy::random ? random_assignment(space, budget, random)
                                                              : mutate(space, budget, parent, random);
      if (!known.insert(child).second) continue;
      offspring.push_back(std::move(child));
      break;
    }
  }
  offspring.insert(offspring.end(), proposals.begin(), proposals.end());
  return offspring;
}

bool run_generation(const SearchSpace& space, const Budget& budget, const EvolutionOptions& options,
                    const TokenPools& pools, std::int64_t island, std::int64_t generation,
                    const SurrogateMoments& moments, const GroupFitness& fitness,
                    const FetchImmigrants& immigrants, IslandState& state, GenerationReport& report) {
  const Assignment parent = state.elites.front().assignment;
  const Surrogate surrogate = space.has_end_losses() ? fit(space, moments) : Surrogate();
  std::vector<Assignment> proposals;
  if (options.proposals > 0)
    proposals = propose(space, budget, options, island, generation, parent, surrogate, moments);
  std::vector<Assignment> candidates =
      make_offspring(space, budget, options, island, generation, parent, proposals);
  Origins origins(options, parent, proposals);
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
        origins.immigrants.insert(immigrant);
        ++report.immigrants;
      }
    }
    const SelectionStage& rule = options.stages[stage];
    const auto random = [&](Draw kind) {
      return stream(options.seed, island, generation, static_cast<std::int64_t>(stage), kind);
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
      throw NumericalError(
          fmt::format("no candidate of island {} has a finite fitness in generation {}", island, generation),
          "search", "use --precision fp32, or other calibration data");
    }
    const auto survivors = std::min(order.size(), static_cast<std::size_t>(rule.survivors));
    candidates.clear();
    for (std::size_t i = 0; i < survivors; ++i) candidates.push_back(order[i].assignment);
  }
  report.improved = order.front().assignment != parent;
  const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(1, options.topology.most_migrants()));
  if (order.size() > kept) order.resize(kept);
  state.elites = std::move(order);
  return true;
}

}  // namespace galapagos
