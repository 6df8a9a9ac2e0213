#pragma once

#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/search/budget.hpp>

namespace galapagos {

/// The assignment that removes whole experts, those of least score first, as many of every layer as meet the
/// budget, one more in the first layers where that does; all other modules stay whole. `scores`: of each
/// module that is an expert. Ties go by the order of modules. UsageError where even all experts but one of
/// each layer are not enough, or the last level of an expert keeps anything.
Assignment without_experts(const SearchSpace& space, const Budget& budget, const std::vector<double>& scores);

}  // namespace galapagos
