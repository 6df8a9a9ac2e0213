#pragma once

#include <functional>
#include <memory>
#include <span>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/model/shards.hpp>

namespace galapagos {

/// Collective over the ranks given. How the shards of a replica are going to sum.
using MakeCollectives = std::function<std::unique_ptr<Collectives>(const Communicator& ranks)>;

/// UsageError where the ranks do not divide into replicas of `shards` ranks.
void check_shards(int ranks, int shards);

/// The ranks of a program dealt to replicas of a model: rank = replica * shards + shard, so that the shards
/// of a replica are neighbours.
class ReplicaGrid {
 public:
  /// Collective, after check_shards().
  ReplicaGrid(const Communicator& world, int shards);

  /// All ranks.
  const Communicator& ranks() const { return ranks_; }
  int shards() const { return shards_; }
  int replicas() const { return same_shard_.size(); }
  int replica() const { return same_shard_.rank(); }
  int shard() const { return of_replica_.rank(); }

  /// The shards of this rank's replica.
  const Communicator& of_replica() const { return of_replica_; }
  /// The ranks that hold the same part of their replicas.
  const Communicator& same_shard() const { return same_shard_; }

 private:
  int shards_;
  Communicator ranks_, of_replica_, same_shard_;
};

/// Which pieces of some work a replica does: every `of`-th from `first` on.
struct Turn {
  std::size_t first = 0, of = 1;
};

/// The turn of `replica`, of `shards` ranks, at work that every node needs done; `on_node`: the replicas of
/// the ranks of its node. Those that lie within the node take turns; one that reaches beyond it does
/// everything, for all of its nodes.
Turn turn_on_node(std::span<const int> on_node, int replica, int shards);

/// Collective over all ranks of the grid, which all throw where any group of them cannot have it: what `make`
/// gives for the group that this rank is in.
std::unique_ptr<Collectives> make_for_group(const ReplicaGrid& grid, const Communicator& group,
                                            const MakeCollectives& make);

/// Collective over all ranks of the grid, which all throw where any replica cannot sum. This rank's place
/// among the shards of its replica; alone where there is one shard. `ids`: of the whole vocabulary.
Shards make_shards(const ReplicaGrid& grid, const MakeCollectives& make, std::int64_t ids);

}  // namespace galapagos
