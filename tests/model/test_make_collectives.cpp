#include "support/catch.hpp"

#include <span>
#include <vector>

#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/model/collectives_check.hpp>
#include <galapagos/model/make_collectives.hpp>
#include <galapagos/tensor/gpu.hpp>

using namespace galapagos;

TEST_CASE("sums over ranks go through what is asked for, where it can be had", "[collectives]") {
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

TEST_CASE("sums of values in GPU memory see what was computed, and are seen by what is computed next",
          "[gpu_sums]") {
  const Communicator world = Communicator::world();
  const std::vector<Gpu> gpus = visible_gpus();
  if (!world.all(!gpus.empty())) {
    if (built_with_cuda()) WARN("SKIPPED on the GPU: none is visible");
    return;
  }
  const auto rank = static_cast<std::size_t>(world.rank());
  const bool own = static_cast<std::size_t>(world.size()) <= gpus.size();
  use_gpu(own ? world.rank() : 0);
  const ops::Context context(Device::cuda);
  for (const CollectivesKind kind : {CollectivesKind::mpi, CollectivesKind::automatic}) {
    if (kind == CollectivesKind::automatic && built_with_nccl() && !own) {
      CHECK_THROWS_AS(make_collectives(world, context, kind), Error);
      continue;
    }
    const std::unique_ptr<Collectives> collectives = make_collectives(world, context, kind);
    for (const std::size_t count : {1, 1000, 9'000'001}) {  // the last in several pieces
      std::vector<float> values(count), found(count);
      for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>((i % 1009) * (rank + 1));
      const auto bytes = std::as_bytes(std::span(values));
      const OwnedTensor source({static_cast<std::int64_t>(count)}, DType::f32, Device::cuda, "test");
      const OwnedTensor summed({static_cast<std::int64_t>(count)}, DType::f32, Device::cuda, "test");
      copy_bytes(source->data, Device::cuda, bytes.data(), Device::cpu, bytes.size());
      copy_bytes(summed->data, Device::cuda, source->data, Device::cuda, bytes.size());  // only queued
      collectives->start_sum(summed->floats(), count);
      collectives->finish_sum();
      copy_bytes(std::as_writable_bytes(std::span(found)).data(), Device::cpu, summed->data, Device::cuda,
                 bytes.size());
      const auto ranks = static_cast<std::size_t>(world.size());
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < count; ++i)
        wrong += found[i] != static_cast<float>((i % 1009) * (ranks * (ranks + 1) / 2)) ? 1 : 0;
      CHECK(wrong == 0);
    }
    CHECK_NOTHROW(check_exchange(*collectives, context, 9'000'001, DType::bf16));  // parts too
    CHECK_NOTHROW(check_messages(*collectives, context, 9'000'001));
  }
}
