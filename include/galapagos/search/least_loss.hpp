#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/core/random.hpp>
#include <galapagos/search/budget.hpp>

namespace galapagos {

/// Of each module at each level, nats per token.
using EndLosses = std::vector<std::vector<double>>;

/// Those of the database multiplied, for every module, by exp(sigma * n), n standard normal: what they might
/// be, were they measured again. The space has to have end losses.
EndLosses perturbed_end_losses(const SearchSpace& space, double sigma, RandomStream random);

/// The same of any losses, with numbers from `random`.
EndLosses perturbed(EndLosses losses, double sigma, RandomStream& random);

/// Those losses, infinite where a level is more than `steps` away from the module's level in `centre`: the
/// sum of losses is a local model, true near the assignment at which it was measured.
EndLosses near_only(EndLosses losses, const Assignment& centre, std::int64_t steps);
/// Losses whose least sum is that of the fewest steps from `centre` in all, and of the least loss among
/// those.
EndLosses steps_first(EndLosses losses, const Assignment& centre);

/// An assignment, and by how much at most its sum of losses is above the least.
struct LeastLoss {
  Assignment assignment;
  double above = 0;
};

/// The assignment of a budget with the least sum of `losses`, of equal ones that with fewer parameters, then
/// lower levels: exactly, but under several limits as near as knapsack_within() comes, and bounds. No level
/// of infinite loss is taken. Where losses do not always grow as modules get smaller, it may leave room that
/// a larger module would fill. UsageError where there is none, or none is found.
LeastLoss bounded_least_loss(const SearchSpace& space, const Budget& budget, const EndLosses& losses);
/// The assignment alone.
Assignment least_loss(const SearchSpace& space, const Budget& budget, const EndLosses& losses);
/// With the end losses of the database, which the space has to have.
Assignment least_loss(const SearchSpace& space, const Budget& budget);

/// Parameters of the whole model that no assignment of the budget exceeds.
std::int64_t most_parameters(const SearchSpace& space, const Budget& budget);

}  // namespace galapagos
