#include "choose_front.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {

std::vector<FrontPoint> choose_front(const std::vector<double>& sparsities,
                                     const std::vector<Budget>& budgets, const Finalists& finalists,
                                     std::size_t raced, std::size_t count) {
  const std::vector<Assignment>& all = finalists.assignments();
  const std::vector<double> fitness = finalists.fitness();
  std::vector<FrontPoint> front;
  for (std::size_t k = 0; k < budgets.size(); ++k) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < count; ++i) {
      if (!std::isfinite(fitness[i]) || !budgets[k].met_by(all[i])) continue;
      const bool better = !best || (i < raced || raced == 0 ? fitness[i] < fitness[*best]
                                                            : finalists.surely_better(i, *best));
      if (better) best = i;
    }
    if (!best) {
      throw NumericalError(
          fmt::format("no candidate {}has a finite fitness on the common tokens",
                      sparsities.empty() ? "" : fmt::format("of sparsity {} ", sparsities[k])),
          "search", "use --precision fp32, or other calibration data");
    }
    front.push_back({sparsities.empty() ? 0 : sparsities[k], all[*best], fitness[*best]});
  }
  return front;
}

}  // namespace galapagos
