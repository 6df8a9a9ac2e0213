#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/search/least_loss.hpp>

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

/// For each point, ascending in sparsity, an assignment of its budget of which no part of a layer is smaller
/// than in the next one, so that every model holds the smaller ones: the last point's own, and each larger
/// one's as few steps from its own as that allows, by the least sum of `losses` (each size's, or empty:
/// alike) among those.
std::vector<Assignment> nested(const SearchSpace& space, const std::vector<Budget>& budgets,
                               const std::vector<FrontPoint>& points, const std::vector<EndLosses>& losses);

/// Steps of learning levels for each of several sizes, every one but the first of which begins where its
/// neighbour's have settled: so many that all take half as many again as one size alone, which takes `steps`.
std::int64_t steps_of_size(std::int64_t steps, std::size_t sizes);

}  // namespace galapagos
