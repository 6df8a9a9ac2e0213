#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/search/mutation.hpp>

namespace galapagos {

enum class StartKind : std::uint8_t {
  uniform,      ///< the most even assignment of the budget
  sensitivity,  ///< the assignment of least predicted loss, or one near it
  given,
};

std::string name_of(StartKind kind);

/// Where the islands of a search begin.
struct Start {
  StartKind kind = StartKind::uniform;
  Assignment given = {};  ///< for StartKind::given
};

/// What --start asks for: "auto" (sensitivity where the database has end losses, else uniform),
/// "sensitivity", "uniform" or a file. UsageError where there are no end losses to begin with, or the file's
/// assignment misses the budget.
Start make_start(const SearchSpace& space, const Budget& budget, const std::string& name);

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

/// The assignment of a budget with the least sum of `losses`, exactly; of equal ones that with fewer
/// parameters, then lower levels. No level of infinite loss is taken. Where losses do not always grow as
/// modules get smaller, it may leave room that a larger module would fill. UsageError where there is none.
Assignment least_loss(const SearchSpace& space, const Budget& budget, const EndLosses& losses);
/// With the end losses of the database, which the space has to have.
Assignment least_loss(const SearchSpace& space, const Budget& budget);

/// Standard deviation of the logarithm of a module's end losses between islands: a tenth up or down. Modules
/// differ by factors, so that what is found is still near the optimum, but not the same.
inline constexpr double island_sigma = 0.1;

/// Where an island begins: island 0 at the exact optimum of the end losses, the others at optima of perturbed
/// ones; all at the same assignment for other kinds of start.
Assignment start_of_island(const SearchSpace& space, const Budget& budget, const Start& start,
                           std::uint64_t seed, std::int64_t island);

}  // namespace galapagos
