#pragma once

#include "crew.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/search/evaluator.hpp>

namespace galapagos {

/// Collective, while nothing is being told. The parents of all islands measured on the same tokens, and the
/// further figures of the best of them; dealt over all ranks, the same on all of them. Nothing where a rank
/// has failed or `stop` says that it is to stop working. NumericalError on the board where no fitness is
/// finite.
std::optional<Comparison> compare_islands(Crew& crew, const Population& population, const StageTokens& tokens,
                                          const Evaluator& evaluator, const std::function<bool()>& stop);

/// Collective. The same of any assignments, dealt over the ranks of `comm`. Throws what all ranks agree on:
/// StoppedEarly where `interrupted` names a reason, saying `when`. `times` may be null.
Comparison compare_assignments(const Communicator& comm, const std::vector<Assignment>& assignments,
                               const StageTokens& tokens, const Evaluator& evaluator,
                               const std::function<std::optional<std::string>()>& interrupted,
                               const std::string& when, PhaseTimes* times);

}  // namespace galapagos
