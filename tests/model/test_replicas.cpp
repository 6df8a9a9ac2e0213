#include "support/catch.hpp"

#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/model/replicas.hpp>

using namespace galapagos;

namespace {

// The turns of all ranks, given the node of each, where work of `pieces` is to be done on every node.
void check_turns(const std::vector<int>& node_of_rank, int shards, std::size_t pieces) {
  const int nodes = node_of_rank.back() + 1;
  std::vector<std::vector<int>> on_node(static_cast<std::size_t>(nodes));
  for (std::size_t rank = 0; rank < node_of_rank.size(); ++rank)
    on_node[static_cast<std::size_t>(node_of_rank[rank])].push_back(static_cast<int>(rank) / shards);
  std::vector<Turn> of_replica(node_of_rank.size() / static_cast<std::size_t>(shards), Turn{99, 99});
  for (std::size_t node = 0; node < on_node.size(); ++node) {
    std::vector<int> done(pieces, 0);
    for (const int replica : on_node[node]) {
      const Turn turn = turn_on_node(on_node[node], replica, shards);
      // All shards of a replica do the same, on whichever node they are.
      Turn& known = of_replica[static_cast<std::size_t>(replica)];
      if (known.of == 99) known = turn;
      CHECK(known.first == turn.first);
      CHECK(known.of == turn.of);
      for (std::size_t piece = turn.first; piece < pieces; piece += turn.of) ++done[piece];
    }
    for (const int times : done) CHECK(times > 0);
  }
}

}  // namespace

TEST_CASE("every node gets all of the work, whatever replicas reach beyond it", "[replicas]") {
  CHECK(turn_on_node(std::vector<int>{0, 0, 1, 1}, 0, 2).of == 2);
  CHECK(turn_on_node(std::vector<int>{0, 0, 1, 1}, 1, 2).first == 1);
  CHECK(turn_on_node(std::vector<int>{3, 4, 5}, 4, 1).first == 1);
  CHECK(turn_on_node(std::vector<int>{0, 0, 1}, 0, 2).of == 1);
  CHECK(turn_on_node(std::vector<int>{0, 0, 1}, 1, 2).of == 1);
  check_turns({0, 0, 0, 0}, 2, 7);
  check_turns({0, 0, 0, 1, 1, 1}, 2, 7);
  check_turns({0, 0, 0, 0, 1, 1, 1, 1}, 8, 5);
  check_turns({0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2}, 3, 5);
  check_turns({0, 1, 2, 3}, 1, 5);
  check_turns({0, 1, 2, 3}, 2, 5);
  check_turns({0, 0, 0, 0, 0, 1, 2, 2, 2}, 3, 2);
}

TEST_CASE("where one replica cannot sum, all end, with one word of it", "[replicas]") {
  const Communicator world = Communicator::world();
  if (world.size() % 2 != 0) return;
  const ReplicaGrid grid(world, 2);
  for (int bad = 0; bad < grid.replicas(); ++bad) {
    bool own = false, ended = false;
    try {
      make_shards(
          grid,
          [&](const Communicator& ranks) {
            // As NCCL: all of the replica know, none of the others; the second one has the error.
            agree(ranks, [&] {
              if (grid.replica() == bad && ranks.rank() == 1) throw ResourceError("x", "y", "z");
            });
            return make_mpi_collectives(ranks);
          },
          100);
    } catch (const FailedElsewhere& error) {
      ended = error.code() == ExitCode::no_resources;
    } catch (const ResourceError& error) {
      own = ended = error.agreed();
    }
    CHECK(ended);
    CHECK(world.sum(std::int64_t{own ? 1 : 0}) == 1);
  }
}
