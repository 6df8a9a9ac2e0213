#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/model/replicas.hpp>

namespace galapagos {
namespace {

int checked_shards(const Communicator& world, int shards) {
  if (shards < 1) throw UsageError(fmt::format("{} shards", shards), "--shards", "give 1 or more");
  if (world.size() % shards != 0) {
    throw UsageError(fmt::format("{} ranks do not divide into replicas of {} shards", world.size(), shards),
                     "--shards", fmt::format("start a multiple of {} ranks", shards));
  }
  return shards;
}

}  // namespace

ReplicaGrid::ReplicaGrid(const Communicator& world, int shards)
    : shards_(checked_shards(world, shards)),
      of_replica_(world.split(world.rank() / shards, world.rank())),
      same_shard_(world.split(world.rank() % shards, world.rank())) {}

}  // namespace galapagos
