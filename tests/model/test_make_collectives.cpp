#include "support/catch.hpp"

#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/model/make_collectives.hpp>

using namespace galapagos;

TEST_CASE("sums over ranks go through what is asked for, where it can be had", "[collectives]") {
  CHECK(collectives_kind("auto") == CollectivesKind::automatic);
  CHECK(collectives_kind("nccl") == CollectivesKind::nccl);
  CHECK(collectives_kind("mpi") == CollectivesKind::mpi);
  CHECK_THROWS_AS(collectives_kind("gloo"), UsageError);
  CHECK_THROWS_AS(collectives_kind(""), UsageError);

  const Communicator world = Communicator::world();
  const ops::Context context;
  CHECK(context.stream() == nullptr);
  for (const CollectivesKind kind : {CollectivesKind::automatic, CollectivesKind::mpi}) {
    const std::unique_ptr<Collectives> collectives = make_collectives(world, context, kind);
    CHECK(collectives->ranks().rank() == world.rank());
    std::vector<float> values = {1.0F, static_cast<float>(world.rank())};
    collectives->start_sum(values.data(), values.size());
    collectives->finish_sum();
    CHECK(values[0] == static_cast<float>(world.size()));
    CHECK(values[1] == static_cast<float>(world.size() * (world.size() - 1) / 2));
  }
  // An error of all ranks, whichever throws which.
  bool refused = false;
  try {
    make_collectives(world, context, CollectivesKind::nccl);
  } catch (const Error& error) {
    refused = error.code() == ExitCode::no_resources && error.agreed();
  }
  CHECK(refused);
}
