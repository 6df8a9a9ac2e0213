#pragma once

#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/io/checkpoint.hpp>

namespace galapagos {

/// The weight that a module has under an assignment, transposed, [columns, hidden] of the unpruned module: 0
/// where columns are pruned. InputError where a file is damaged.
std::vector<float> weight_in_place(const Checkpoint& checkpoint, const HfConfig& config,
                                   const DatabaseReader& database, const SearchSpace& space,
                                   const Assignment& assignment, const ModuleId& module);

}  // namespace galapagos
