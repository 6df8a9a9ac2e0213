#include "support/catch.hpp"

#include <algorithm>
#include <string>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/gpu_identity.hpp>

using namespace galapagos;

namespace {

GpuOfRank gpu(int rank, int node, const std::string& host, unsigned char number, const std::string& bus) {
  GpuOfRank made;
  made.rank = rank;
  made.node = node;
  std::copy(host.begin(), host.end(), made.host.begin());
  std::copy(bus.begin(), bus.end(), made.bus_id.begin());
  made.uuid.fill(number);
  return made;
}

std::string refusal_of(const std::vector<GpuOfRank>& ranks) {
  try {
    check_one_rank_per_gpu(ranks);
  } catch (const ResourceError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("ranks with a GPU each are let through", "[gpu]") {
  CHECK(refusal_of({}).empty());
  CHECK(refusal_of({gpu(0, 0, "a", 1, "0000:01:00.0")}).empty());
  // The same place on another node is another GPU, whatever the nodes are called.
  CHECK(refusal_of({gpu(0, 0, "a", 1, "0000:01:00.0"), gpu(1, 0, "a", 2, "0000:02:00.0"),
                    gpu(2, 2, "a", 3, "0000:01:00.0"), gpu(3, 2, "a", 4, "0000:02:00.0")})
            .empty());
  const std::vector<GpuOfRank> two = {gpu(0, 0, "a", 1, ""), gpu(1, 0, "a", 2, "")};
  CHECK(refusal_of(two).empty());
  CHECK(one_rank_per_gpu(two));
}

TEST_CASE("ranks that share a GPU are named in one line", "[gpu]") {
  CHECK(refusal_of({gpu(4, 4, "node7", 0x2a, "0000:01:00.0"), gpu(5, 4, "node7", 0x2b, "0000:02:00.0"),
                    gpu(6, 4, "node7", 0x2a, "0000:01:00.0")}) ==
        "NCCL needs one GPU per rank: ranks 4, 6 on node7 share GPU-2a2a2a2a-2a2a-2a2a-2a2a-2a2a2a2a2a2a "
        "[--collectives nccl]; start one rank per GPU, or use --collectives mpi");
  // Parts of one GPU have UUIDs of their own; NCCL takes them for one.
  const std::string parts =
      refusal_of({gpu(0, 0, "a", 1, "0000:01:00.0"), gpu(1, 0, "a", 2, "0000:01:00.0")});
  CHECK(!one_rank_per_gpu(std::vector{gpu(0, 0, "a", 1, "0000:01:00.0"), gpu(1, 0, "a", 2, "0000:01:00.0")}));
  CHECK(parts.find("ranks 0, 1 on a share GPU-01010101-") != std::string::npos);
  std::vector<GpuOfRank> many;
  for (int rank = 0; rank < 24; ++rank)
    many.push_back(gpu(rank, 0, "a", static_cast<unsigned char>(rank / 3), ""));
  const std::string named = refusal_of(many);
  CHECK(named.find("ranks 9, 10, 11 on a share ") != std::string::npos);
  CHECK(named.find("ranks 12") == std::string::npos);
  CHECK(named.find("; and 4 more [") != std::string::npos);
}

TEST_CASE("all ranks refuse the same gathered GPUs, and one says so", "[gpu]") {
  const Communicator world = Communicator::world();
  // Two ranks to a GPU; alone, a rank has its own.
  const GpuOfRank mine = gpu(world.rank(), 0, "a", static_cast<unsigned char>(world.rank() / 2), "");
  const std::vector<GpuOfRank> all = world.all_gather(mine);
  bool own = false, elsewhere = false;
  try {
    agree(world, [&] { check_one_rank_per_gpu(all); });
  } catch (const FailedElsewhere&) {
    elsewhere = true;
  } catch (const ResourceError&) {
    own = true;
  }
  CHECK(own == (world.size() > 1 && world.is_root()));
  CHECK(elsewhere == !world.is_root());
}
