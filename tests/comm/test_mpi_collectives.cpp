#include "exchange_parts.hpp"

#include <stdexcept>

using namespace galapagos;

TEST_CASE("an exception between start and finish of a sum gets out, though others never came to it",
          "[collectives]") {
  const Communicator world = Communicator::world();
  static std::vector<float> values(100000, 1.0F);  // MPI goes on with them
  auto others = make_mpi_collectives(world);
  bool caught = false;
  if (world.is_root()) {
    try {
      const auto collectives = std::move(others);
      collectives->start_sum(values.data(), values.size());
      throw std::runtime_error("x");
    } catch (const std::runtime_error&) {
      caught = true;
    }
  }
  world.barrier();  // the others come to the sum only after this
  CHECK(caught == world.is_root());
  if (!world.is_root()) {
    others->start_sum(values.data(), values.size());
    others->finish_sum();
    CHECK(values.front() == static_cast<float>(world.size()));
  }
}

TEST_CASE("parts of a sum go to their owners, and parts come from their owners to all", "[collectives]") {
  const Communicator world = Communicator::world();
  const auto collectives = make_mpi_collectives(world);
  for (const bool even : {false, true}) {
    for (const std::uint64_t unit : {1ull, 1000ull, 1'300'007ull})
      test::check_parts(*collectives, unit, even);
  }
}

TEST_CASE("sums of bf16 are rounded to nearest whenever two values are added", "[collectives]") {
  const auto collectives = make_mpi_collectives(Communicator::world());
  for (const std::size_t count : {0, 1, 24, 100'000}) test::check_bf16_sum(*collectives, count);
}

TEST_CASE("messages go from rank to rank", "[collectives]") {
  const auto collectives = make_mpi_collectives(Communicator::world());
  for (const std::size_t bytes : {0, 1, 1000, 1'300'007}) test::check_messages(*collectives, bytes);
}
