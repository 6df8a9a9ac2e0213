#pragma once

#include <vector>

#include <galapagos/search/budget.hpp>
#include <galapagos/search/population.hpp>

namespace galapagos {

/// What the surrogate proposes to an island whose best is `parent`: options.proposals assignments of the
/// budget, each the best in the parent's neighbourhood by the end losses as they are corrected there and, but
/// for the first, perturbed; no two alike, none measured before and none the parent. Fewer where none such
/// turn up.
std::vector<Assignment> propose(const SearchSpace& space, const Budget& budget,
                                const EvolutionOptions& options, const IslandGeneration& turn,
                                const Assignment& parent, const Experience& experience);

}  // namespace galapagos
