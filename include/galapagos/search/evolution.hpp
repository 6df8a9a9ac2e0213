#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/mutation.hpp>
#include <galapagos/search/population.hpp>

namespace galapagos {

/// How candidates are measured; called on the ranks of a worker's own.
struct Evaluator {
  /// The fitness of candidates; nothing where `stop` said so in between. See Replica::fitness and
  /// Replica::tuned_fitness.
  std::function<std::optional<std::vector<double>>(
      const Assignment& base, std::span<const Assignment> candidates, const StageTokens& tokens,
      const std::function<bool()>& stop)>
      fitness;
  /// Where the time of `fitness` went so far.
  std::function<EvaluationSeconds()> seconds = [] { return EvaluationSeconds(); };
  /// Further figures of an assignment: item `i` of `extra_items`, dealt over the ranks; their results are
  /// handed to the observer in order.
  std::function<double(const Assignment& assignment, std::size_t item)> extra;
  std::size_t extra_items = 0;
};

/// What is to be written as the search goes on; called on rank 0 only.
struct Observer {
  std::function<void(const Population& population, std::span<const Migration> migrations)> generation;
  std::function<void(const Population& population, const Comparison& comparison)> comparison;
};

/// The parents that the islands begin with, as generation 0: what options.start says, or for the random
/// strategy random ones.
Population initial_population(const SearchSpace& space, const Budget& budget,
                              const EvolutionOptions& options);

/// Collective. Evolves from `start` to the last generation; the result is on every rank, and is the same for
/// any number of ranks. Ranks are dealt to islands: where there are more, the ranks of an island share its
/// evaluations; where there are fewer, a rank has several islands. Throws StoppedEarly on every rank where
/// `interrupted` (asked on every rank between evaluations) names a reason; NumericalError where no candidate
/// has a finite fitness. `times`, which may be null, is told of phases: evaluating, waiting, writing.
Population evolve(const Communicator& comm, const SearchSpace& space, const Budget& budget,
                  const EvolutionOptions& options, const TokenPools& pools, Population start,
                  const Evaluator& evaluator, const Observer& observer,
                  const std::function<std::optional<std::string>()>& interrupted,
                  PhaseTimes* times = nullptr);

}  // namespace galapagos
