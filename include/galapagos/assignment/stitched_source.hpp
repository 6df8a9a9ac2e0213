#pragma once

#include <cstdint>

#include <galapagos/assignment/space.hpp>
#include <galapagos/model/source.hpp>

namespace galapagos {

/// A model of `checkpoint` with the levels of `assignment` put in, compact: config.json's shapes become those
/// of what is left. Or one of several shards' parts of it. The arguments must outlive the result.
ModelSource stitched_source(const ops::Context& context, const Checkpoint& checkpoint, const HfConfig& config,
                            const DatabaseReader& database, const SearchSpace& space,
                            const Assignment& assignment, DType precision, int shard = 0, int shards = 1);

}  // namespace galapagos
