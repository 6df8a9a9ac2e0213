#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/evaluator.hpp>
#include <galapagos/search/strategy.hpp>

namespace galapagos {

/// What is to be written as the search goes on; called on rank 0 only.
struct Observer {
  std::function<void(const Population& population, std::span<const Migration> migrations)> generation;
  std::function<void(const Population& population, const Comparison& comparison)> comparison;
};

/// Collective. Evolves from `start` to the last generation; the result is on every rank, and is the same for
/// any number of ranks. Ranks are dealt to islands: where there are more, the ranks of an island share its
/// evaluations; where there are fewer, a rank has several islands. Throws StoppedEarly on every rank where
/// `interrupted` (asked on every rank between evaluations) names a reason; NumericalError where no candidate
/// has a finite fitness. `times`, which may be null, is told of phases: evaluating, waiting, writing.
Population evolve(const Communicator& comm, const SearchSpace& space, const Strategy& strategy,
                  const EvolutionOptions& options, const TokenPools& pools, Population start,
                  const Evaluator& evaluator, const Observer& observer,
                  const std::function<std::optional<std::string>()>& interrupted,
                  PhaseTimes* times = nullptr);

}  // namespace galapagos
