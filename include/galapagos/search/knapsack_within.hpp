#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/search/limited_class.hpp>

namespace galapagos {

struct LimitedSolution {
  std::vector<std::int16_t> choices;
  double loss = 0;
  double bound = 0;  ///< no solution loses less, to the rounding of the sums
};

/// Choices that keep within all of the limits, of which there are two or more, and lose little; nothing where
/// none were found, which costs that never rise from choice to choice exclude unless there are none.
///
/// Lagrangian: prices of the limits that maximise the dual's bound, found by bisection of one after the other
/// and subgradients; then, for each limit, the exact solution under it with the others' prices
/// (knapsack_at_most), which bounds the loss, too; each is made to fit by the changes that cost the least
/// loss for what they save, and then made better by changing one class or two at a time (Kellerer, Pferschy,
/// Pisinger, "Knapsack Problems", 2004, chapters 9 and 11). ResourceError as knapsack_at_most().
std::optional<LimitedSolution> knapsack_within(std::span<const LimitedClass> classes,
                                               std::span<const std::int64_t> limits);

}  // namespace galapagos
