#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/search/budget.hpp>

namespace galapagos {

/// "0.2 0.3 0.4", or "0.2:0.5:0.1" (from, to, by), as ascending sparsities. UsageError where it is none of
/// the two, or one of them is not between 0 and 1 or there twice.
std::vector<double> parse_targets(const std::string& text);

/// A size of a front and the best assignment for it.
struct FrontPoint {
  double sparsity = 0;  ///< that was asked for
  Assignment assignment;
  double fitness = 0;
};

/// The best of all finalists for each budget, which smaller ones meet too. NumericalError where none that
/// meets one has a finite fitness.
std::vector<FrontPoint> choose_front(const std::vector<double>& sparsities,
                                     const std::vector<Budget>& budgets,
                                     const std::vector<Assignment>& finalists,
                                     const std::vector<double>& fitness);

/// Steps of learning levels for a further size, which begins where its neighbour's have settled: so many that
/// all further sizes together take half of what the first one takes.
std::int64_t further_steps(std::int64_t steps, std::size_t sizes);

}  // namespace galapagos
