#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <galapagos/core/random.hpp>
#include <galapagos/search/budget.hpp>

namespace galapagos {

/// Makes one random exchange: one module gets larger by a level and others smaller, so that the budget is met
/// again; under a limit, or several, until no module could be made larger within them; modules get smaller
/// only where that brings down what is exceeded. With several exact rules one is drawn in proportion to its
/// number of modules. Where levels have to sum up to one number this is the reference's switch: a module
/// whose level can go down and one whose level can go up, which may be the same. Under one limit an expert of
/// a mixture takes all of its layer with it every other time, and others get smaller layer by layer then.
void exchange(const Budget& budget, Assignment& assignment, RandomStream& random);

/// Which of some modules goes to the level that stands beside it, one of them at least.
using ChooseModule =
    std::function<std::size_t(const std::vector<std::pair<std::size_t, std::int16_t>>& moves)>;

/// Brings any assignment into the budget: makes modules smaller until it is met, then larger as long as it
/// stays so, each one that `choose` says; those `pinned` (one per module) keep their levels unless nothing
/// else helps. False where nothing brings it down.
bool restore(const Budget& budget, Assignment& assignment, const std::vector<bool>& pinned,
             const ChooseModule& choose);

/// A mutation of `parent`: min(u1, u2) exchanges, u1 and u2 uniform on {1, 2, 3}.
Assignment mutate(const Budget& budget, const Assignment& parent, RandomStream& random);

/// An assignment drawn at random among those that meet the budget: many exchanges away from the uniform one.
Assignment random_assignment(const Budget& budget, RandomStream& random);

}  // namespace galapagos
