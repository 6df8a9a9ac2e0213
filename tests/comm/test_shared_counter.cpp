#include "support/catch.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include <galapagos/comm/shared_counter.hpp>

using namespace galapagos;

TEST_CASE("ranks that take from a counter until it is used up get each number once", "[shared_counter]") {
  const Communicator world = Communicator::world();
  for (const bool remote : {false, true}) {
    SharedCounter counter(world, world, remote);
    std::int64_t begin = 0;
    for (const std::int64_t count : {0, 1, 3, 500}) {
      std::vector<std::int64_t> mine;
      std::int64_t taken = counter.take();
      for (; taken < begin + count; taken = counter.take()) mine.push_back(taken - begin);
      std::vector<std::int64_t> all = world.gather(std::span<const std::int64_t>(mine));
      CHECK(std::is_sorted(mine.begin(), mine.end()));
      // Each rank has taken one too many, so that the next round's beginning is known without a word.
      begin += count + world.size();
      world.barrier();
      if (!world.is_root()) continue;
      std::sort(all.begin(), all.end());
      std::vector<std::int64_t> expected(static_cast<std::size_t>(count));
      std::iota(expected.begin(), expected.end(), 0);
      CHECK(all == expected);
    }
  }
}

TEST_CASE("a counter goes on by as many as are taken at a time", "[shared_counter]") {
  const Communicator world = Communicator::world();
  for (const bool remote : {false, true}) {
    SharedCounter counter(world, world, remote);
    for (int i = 0; i < 10; ++i) CHECK(counter.take(world.rank() + 1) >= 0);
    world.barrier();
    CHECK(counter.take(0) == 10 * world.size() * (world.size() + 1) / 2);
  }
}

TEST_CASE("groups count for themselves", "[shared_counter]") {
  const Communicator world = Communicator::world();
  const Communicator group = world.split(world.rank() % 2, world.rank());
  for (const bool remote : {false, true}) {
    SharedCounter counter(world, group, remote), other(world, group, remote);
    for (int i = 0; i < 5; ++i) counter.take();
    group.barrier();
    CHECK(counter.take(0) == 5 * group.size());
    CHECK(other.take(0) == 0);
  }
}

TEST_CASE("a rank that waits in MPI lets the others count", "[shared_counter]") {
  const Communicator world = Communicator::world();
  SharedCounter counter(world, world, true);
  for (int i = 0; i < 100 && !world.is_root(); ++i) counter.take();
  world.barrier();  // the root has been here all the while
  CHECK(counter.take(0) == 100 * (world.size() - 1));
}
