#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace galapagos {

/// A class of a multiple-choice knapsack: exactly one of its choices 0, 1, ... is taken.
struct KnapsackClass {
  std::vector<std::int64_t> costs;  ///< of each choice, 0 or more, in whatever unit
  std::vector<double> losses;       ///< of each choice, finite
};

/// The choice of each class for which the losses sum up to the least and the costs to at most `limit`;
/// nothing where there is none. Exact, to the rounding of the sums, which go from the last class to the
/// first. Of equal losses the lower cost is taken, then the lower choices, the first class's first.
///
/// A dynamic programme over the last 1, 2, ... classes keeps those sums of cost and loss that no other one is
/// below in both (Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004, chapter 11) and whose Lagrangian
/// bound is within a gap of the dual's optimum. The gap grows until it holds a solution. ResourceError where
/// that takes too much memory.
std::optional<std::vector<std::int16_t>> knapsack_at_most(std::span<const KnapsackClass> classes,
                                                          std::int64_t limit);

/// The same where the costs have to sum up to `limit` itself: a table over all sums, for small costs.
std::optional<std::vector<std::int16_t>> knapsack_exactly(std::span<const KnapsackClass> classes,
                                                          std::int64_t limit);

}  // namespace galapagos
