#pragma once

#include <cstdint>
#include <string>

#include <galapagos/assignment/space.hpp>
#include <galapagos/search/budget.hpp>

namespace galapagos {

enum class StartKind : std::uint8_t {
  uniform,      ///< the most even assignment of the budget
  sensitivity,  ///< the assignment of least predicted loss, or one near it
  given,
  gradient,  ///< levels learned by gradient descent from what `sensitivity` or `uniform` gives
};

std::string name_of(StartKind kind);

/// Where the islands of a search begin.
struct Start {
  StartKind kind = StartKind::uniform;
  Assignment given = {};  ///< for StartKind::given
};

/// What --start asks for: "auto" (sensitivity where the database has end losses, else uniform),
/// "sensitivity", "uniform", "gradient" or a file. UsageError where there are no end losses to begin with, or
/// the file's assignment misses the budget.
Start make_start(const SearchSpace& space, const Budget& budget, const std::string& name);

/// Standard deviation of the logarithm of a module's end losses between islands: a tenth up or down. Modules
/// differ by factors, so that what is found is still near the optimum, but not the same.
inline constexpr double island_sigma = 0.1;

/// Where an island begins, with StartKind::gradient before anything is learned: island 0 at the exact optimum
/// of the end losses, the others at optima of perturbed ones; all at the same assignment where there are no
/// end losses to begin by.
Assignment start_of_island(const SearchSpace& space, const Budget& budget, const Start& start,
                           std::uint64_t seed, std::int64_t island);

}  // namespace galapagos
