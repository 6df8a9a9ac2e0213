#pragma once

#include <optional>
#include <vector>

#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/measurements.hpp>

namespace galapagos {

/// What a new candidate is bred from.
struct Breeding {
  const Budget& budget;
  const Assignment& parent;
  const std::vector<Assignment>& mates;  ///< for crossover
  const EndLosses& losses;  ///< what levels are expected to lose near the parent, for exchange; may be empty
  double temperature = 1;   ///< of choices by those losses: how far from the best they go
};

/// The ways by which a candidate can be bred here: mutation, stride, removal; layer under limits, where
/// layers have two parts of their own; crossover with mates, exchange with losses.
std::vector<Origin> ways_to_breed(const Breeding& breeding);

/// A candidate of the budget, bred in one of those ways; nothing where that came to none. It may be the
/// parent.
///   mutation: as mutate(). stride: a module grows by 2 or 3 levels. layer: of one layer's two parts one
///   grows and the other one shrinks. removal: a module goes to its smallest level. crossover: each module's
///   level from the parent or a mate. exchange: a module grows and others shrink, drawn by what they are
///   expected to gain per cost. Others shrink and grow at random until the budget is met, see restore().
///   In stride and exchange an expert of a mixture takes all of its layer with it every other time, in layer
///   always.
std::optional<Assignment> breed(Origin way, const Breeding& breeding, RandomStream& random);

/// The parent, of whatever size, brought into the budget by what levels are expected to lose, or at random
/// where nothing is expected; nothing where that cannot be.
std::optional<Assignment> moved_into(const Breeding& breeding, RandomStream& random);

}  // namespace galapagos
