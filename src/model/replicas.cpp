#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <set>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/model/partition.hpp>
#include <galapagos/model/replicas.hpp>

namespace galapagos {

void check_shards(int ranks, int shards) {
  if (shards < 1 || shards > ranks) {
    throw UsageError(fmt::format("{} shards on {} ranks", shards, ranks), "--shards",
                     "give 1 to the number of ranks");
  }
  if (ranks % shards != 0) {
    throw UsageError(fmt::format("{} ranks do not divide into replicas of {} shards", ranks, shards),
                     "--shards", fmt::format("start a multiple of {} ranks", shards));
  }
}

ReplicaGrid::ReplicaGrid(const Communicator& world, int shards)
    : shards_(shards),
      ranks_(world.duplicate()),
      of_replica_(world.split(world.rank() / shards, world.rank())),
      same_shard_(world.split(world.rank() % shards, world.rank())) {}

Turn turn_on_node(std::span<const int> on_node, int replica, int shards) {
  std::set<int> within;
  for (const int one : on_node) {
    if (std::count(on_node.begin(), on_node.end(), one) == shards) within.insert(one);
  }
  if (!within.contains(replica)) return {};
  const auto before = std::distance(within.begin(), within.find(replica));
  return {static_cast<std::size_t>(before), within.size()};
}

std::unique_ptr<Collectives> make_for_group(const ReplicaGrid& grid, const Communicator& group,
                                            const MakeCollectives& make) {
  std::unique_ptr<Collectives> collectives;
  std::exception_ptr failure;  // of this group
  try {
    collectives = make(group);
  } catch (...) {
    failure = std::current_exception();
  }
  agree(grid.ranks(), [&] {
    if (failure) std::rethrow_exception(failure);
  });
  return collectives;
}

Shards make_shards(const ReplicaGrid& grid, const MakeCollectives& make, std::int64_t ids) {
  if (grid.shards() == 1) return {};
  return {make_for_group(grid, grid.of_replica(), make),
          part_of_vocabulary(ids, grid.shard(), grid.shards()).first};
}

}  // namespace galapagos
