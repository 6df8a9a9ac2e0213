#pragma once

#include "crew.hpp"

#include <functional>
#include <optional>

#include <galapagos/search/evaluator.hpp>

namespace galapagos {

/// Collective, while nothing is being told. The parents of all islands measured on the same tokens, and the
/// further figures of the best of them; dealt over all ranks, the same on all of them. Nothing where a rank
/// has failed or `stop` says that it is to stop working. NumericalError on the board where no fitness is
/// finite.
std::optional<Comparison> compare_islands(Crew& crew, const Population& population, const StageTokens& tokens,
                                          const Evaluator& evaluator, const std::function<bool()>& stop);

}  // namespace galapagos
