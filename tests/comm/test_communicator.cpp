#include "support/catch.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include <galapagos/comm/communicator.hpp>

using namespace galapagos;

TEST_CASE("collectives", "[comm]") {
  const Communicator world = Communicator::world();
  const int rank = world.rank(), size = world.size();
  CHECK(world.sum(std::int64_t{rank}) == size * (size - 1) / 2);
  CHECK(world.max(static_cast<double>(rank)) == size - 1);
  CHECK(world.min(std::int64_t{rank}) == 0);
  CHECK(world.any(rank == size - 1));
  CHECK(world.all(rank == 0) == (size == 1));
  CHECK(world.broadcast_string(rank == 0 ? "hello" : "") == "hello");
  CHECK(world.broadcast_string("") == "");
  std::vector<int> values;
  if (rank == 0) values = {1, 2, 3};
  world.broadcast(values);
  CHECK(values == std::vector<int>{1, 2, 3});
  const std::vector<int> all = world.all_gather(rank * 10);
  for (int i = 0; i < size; ++i) CHECK(all[static_cast<std::size_t>(i)] == i * 10);
  // Rank r gives r values, so that rank 0 gives none.
  const std::vector<double> mine(static_cast<std::size_t>(rank), rank);
  std::vector<std::uint64_t> counts;
  const std::vector<double> gathered = world.gather(std::span<const double>(mine), &counts);
  CHECK(counts.size() == static_cast<std::size_t>(size));
  if (rank == 0) {
    CHECK(gathered.size() == static_cast<std::size_t>(size * (size - 1) / 2));
    CHECK(std::is_sorted(gathered.begin(), gathered.end()));
  } else {
    CHECK(gathered.empty());
  }
}

TEST_CASE("parts of a sum go to their owners", "[comm]") {
  const Communicator world = Communicator::world();
  const auto ranks = static_cast<std::uint64_t>(world.size()), me = static_cast<std::uint64_t>(world.rank());
  // Uneven parts, the first one empty where there are several; in one round, and in many.
  for (const std::uint64_t unit : {1ull, 1000ull, 1'300'007ull}) {
    std::vector<std::uint64_t> bounds = {0};
    for (std::uint64_t r = 0; r < ranks; ++r)
      bounds.push_back(bounds.back() + unit * (ranks == 1 ? 5 : r * r));
    const auto value = [](std::uint64_t i) { return static_cast<float>(i % 4093); };
    std::vector<float> values(bounds.back());
    for (std::uint64_t i = 0; i < values.size(); ++i) values[i] = value(i) * static_cast<float>(me + 1);
    std::vector<float> mine(bounds[me + 1] - bounds[me]);
    world.sum_to_owners(values, bounds, mine);
    const auto factor = static_cast<float>(ranks * (ranks + 1) / 2);
    std::size_t wrong = 0;
    for (std::uint64_t i = 0; i < mine.size(); ++i)
      wrong += mine[i] != factor * value(bounds[me] + i) ? 1 : 0;
    CHECK(wrong == 0);
    // In the place of the values themselves: the same bits.
    const std::span<float> all(values);
    world.sum_to_owners(all, bounds, all.subspan(bounds[me], mine.size()));
    for (std::uint64_t i = 0; i < mine.size(); ++i) wrong += values[bounds[me] + i] != mine[i] ? 1 : 0;
    CHECK(wrong == 0);
  }
}

TEST_CASE("split and messages", "[comm]") {
  const Communicator world = Communicator::world();
  const Communicator half = world.split(world.rank() % 2, world.rank());
  CHECK(half.size() == (world.size() + (world.rank() % 2 == 0 ? 1 : 0)) / 2);
  CHECK(half.rank() == world.rank() / 2);
  CHECK(world.split_node().size() == world.size());
  const Communicator copy = world.duplicate();
  const int to = (copy.rank() + 1) % copy.size(), from = (copy.rank() + copy.size() - 1) % copy.size();
  std::vector<float> out(1000, static_cast<float>(copy.rank())), in(1000);
  Request coming = copy.receive_async(std::as_writable_bytes(std::span(in)), from, 1);
  Request going = copy.send_async(std::as_bytes(std::span(out)), to, 1);
  CHECK(coming.wait() == 4000);
  going.wait();
  CHECK(in.front() == static_cast<float>(from));
  CHECK(in.back() == static_cast<float>(from));
}
