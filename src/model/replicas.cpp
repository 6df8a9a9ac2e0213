#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/model/partition.hpp>
#include <galapagos/model/replicas.hpp>

namespace galapagos {

void check_shards(int ranks, int shards) {
  if (shards < 1) throw UsageError(fmt::format("{} shards", shards), "--shards", "give 1 or more");
  if (ranks % shards != 0) {
    throw UsageError(fmt::format("{} ranks do not divide into replicas of {} shards", ranks, shards),
                     "--shards", fmt::format("start a multiple of {} ranks", shards));
  }
}

ReplicaGrid::ReplicaGrid(const Communicator& world, int shards)
    : shards_(shards),
      of_replica_(world.split(world.rank() / shards, world.rank())),
      same_shard_(world.split(world.rank() % shards, world.rank())) {}

Shards make_shards(const ReplicaGrid& grid, const MakeCollectives& make, std::int64_t ids) {
  if (grid.shards() == 1) return {};
  return {make(grid.of_replica()), part_of_vocabulary(ids, grid.shard(), grid.shards()).first};
}

}  // namespace galapagos
