// The database that a GPU makes against the CPU's.
#include "support/catch.hpp"
#include "support/gpu.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <cmath>

#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/tensor/gpu.hpp>

using namespace galapagos;

namespace {

/// How far apart, relative to the larger, the losses of the two choices are where two orders part; 0 where
/// they do not.
double tie_broken(const DatabaseReader& a, const DatabaseReader& b, const ModuleId& module) {
  const auto order_a = a.order(module), order_b = b.order(module);
  const auto differing = std::mismatch(order_a.begin(), order_a.end(), order_b.begin());
  if (differing.first == order_a.end()) return 0;
  const auto at = static_cast<std::size_t>(differing.first - order_a.begin());
  const auto step = [&](const std::vector<double>& loss) {
    return loss[at] - (at == 0 ? 0.0 : loss[at - 1]);
  };
  const double one = step(a.loss(module)), other = step(b.loss(module));
  return std::abs(one - other) / std::max(one, other);
}

}  // namespace

TEST_CASE("a GPU removes in the CPU's order, but for near ties", "[database][backends]") {
  const Communicator world = Communicator::world();
  if (world.size() > 1) return;  // ranks would share the GPU
  if (test::without_gpu()) return;
  const test::SharedFolder folder(world);
  for (const char* model : {"tiny", "llama3_tiny", "qwen2_tiny", "qwen3_tiny"}) {
    DatabaseOptions on_cpu = test::small_database(model, folder / (std::string(model) + "_cpu.h5"));
    DatabaseOptions on_gpu = test::small_database(model, folder / (std::string(model) + "_gpu.h5"));
    build_database(world, ops::Context(), on_cpu);
    build_database(world, ops::Context(Device::cuda), on_gpu);
    const DatabaseReader cpu(on_cpu.output), gpu(on_gpu.output);
    double most_tie = 0, most_loss = 0;
    for (const ModuleId& module : cpu.header().modules()) {
      most_tie = std::max(most_tie, tie_broken(cpu, gpu, module));
      const double wanted = cpu.loss(module).back(), found = gpu.loss(module).back();
      most_loss = std::max(most_loss, std::abs(wanted - found) / (std::abs(wanted) + 1e-12));
      CHECK_NOTHROW(gpu.verify(module));
    }
    INFO(model << ": choices that differ are " << most_tie << " apart, losses " << most_loss);
    CHECK(most_tie < 5e-3);
    CHECK(most_loss < 1e-3);

    // From inputs that are rounded to bf16 orders part; what all removals cost stays the same within
    // rounding.
    DatabaseOptions rounded = test::small_database(model, folder / (std::string(model) + "_bf16.h5"));
    build_database(world, ops::Context(Device::cuda, 0, DType::bf16), rounded);
    const DatabaseReader bf16(rounded.output);
    for (const ModuleId& module : cpu.header().modules()) {
      const double wanted = cpu.loss(module).back(), found = bf16.loss(module).back();
      INFO(model << ", " << name_of(module) << ": " << found << " for " << wanted);
      CHECK(std::abs(wanted - found) < 5e-2 * std::abs(wanted) + 1e-12);
    }
  }
}
