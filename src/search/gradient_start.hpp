#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/evaluator.hpp>
#include <galapagos/search/relaxation.hpp>

namespace galapagos {

/// Tokens of a piece of a step, which is one rank's: few, so that many ranks can share a step. A longer
/// sequence is a piece of its own.
inline constexpr std::int64_t piece_tokens = 1024;

/// What learning levels needs beside the space and the budget.
struct LevelLearning {
  MeasureGradient gradient;                     ///< on the ranks of a worker's own
  std::function<void(const Relaxation&)> save;  ///< on the root, after every step
  std::function<std::optional<std::string>()> interrupted;
};

/// Collective. Goes on with `begin` to the last step: in each, ranks take pieces of one draw of tokens; the
/// result is the same for any number of ranks. Errors are agreed on: StoppedEarly where `interrupted` names a
/// reason, NumericalError where a loss or a gradient is no number. `times` may be null.
Relaxation learn_levels(const Communicator& comm, const SearchSpace& space, const Budget& budget,
                        const EvolutionOptions& options, const TokenPools& pools, Relaxation begin,
                        const LevelLearning& learning, PhaseTimes* times);

/// Where islands begin with learned levels: island 0 at the nearest assignment, the others at the nearest by
/// perturbed prices.
std::vector<Assignment> assignments_of(const SearchSpace& space, const Budget& budget,
                                       const EvolutionOptions& options, const Relaxation& learned);

}  // namespace galapagos
