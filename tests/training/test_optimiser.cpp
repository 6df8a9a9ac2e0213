#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <cmath>
#include <cstring>
#include <iostream>
#include <map>

#include <galapagos/training/optimiser.hpp>

using namespace galapagos;

namespace {

constexpr double rate = 1e-2;

/// This rank's gradients of a step; those of all `ranks` add up to the same for any number, but for rounding.
void fill_gradients(const Gradients& gradients, int step, int rank, int ranks) {
  std::mt19937 random(static_cast<unsigned>(step));
  std::normal_distribution<float> normal(0, 0.1f);
  const float share =
      2.0f * static_cast<float>(rank + 1) / static_cast<float>(ranks * (ranks + 1));  // in all 1
  for (float& value : gradients.all().float_span()) value = share * normal(random);
}

/// All working weights after some steps on the ranks of `comm`, and the norm of the last one.
std::vector<float> weights_after(const Communicator& comm, DType precision, int steps, double clip,
                                 double* norm = nullptr) {
  const ops::Context context;
  const test::SmallModel model("llama3_pruned", precision);
  const Gradients gradients(model.weights, Device::cpu);
  const auto replicas = make_mpi_collectives(comm);
  ShardedAdamW optimiser(*replicas, context, model.weights, precision, {});
  for (int step = 0; step < steps; ++step) {
    fill_gradients(gradients, step, comm.rank(), comm.size());
    const double found = optimiser.step(gradients, rate, clip);
    if (norm != nullptr) *norm = found;
  }
  std::vector<float> all;
  for (const NamedTensor& parameter : parameters_of(model.weights)) {
    const std::vector<float> values = test::values_of(parameter.tensor);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::vector<float> rounded(std::vector<float> values, DType precision) {
  std::vector<std::byte> stored(values.size() * size_of(precision));
  convert_from_float(values, precision, stored.data());
  convert_to_float(precision, stored.data(), values);
  return values;
}

/// As gradient_of of tools/goldens/adamw.py.
float golden_gradient(std::uint64_t parameter, std::uint64_t step, std::uint64_t index) {
  std::uint64_t mixed = index * 2654435761U + parameter * 3266489917U + step * 2246822519U;
  mixed = (mixed ^ (mixed >> 15U)) & 0xFFFFFFFFU;
  mixed = (mixed * 2246822519U) & 0xFFFFFFFFU;
  return std::ldexp(static_cast<float>(mixed >> 20U) - 2048, -12 - static_cast<int>((mixed >> 16U) & 15U));
}

}  // namespace

TEST_CASE("20 steps with given gradients end where torch.optim.AdamW's end", "[optimiser]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const test::SmallModel model("qwen2_pruned");
  const SafetensorsFile golden(test::data_file("training/adamw.safetensors"));
  AdamWOptions options;
  options.weight_decay = 0.1;
  const auto replicas = make_mpi_collectives(world);
  ShardedAdamW optimiser(*replicas, context, model.weights, DType::f32, options);
  const Gradients gradients(model.weights, Device::cpu);
  const std::vector<NamedTensor> parameters = parameters_of(model.weights);
  std::map<std::string, std::uint64_t> numbers;  // in the order of the names
  for (const NamedTensor& parameter : parameters) numbers[parameter.name];
  std::uint64_t next = 0;
  for (auto& entry : numbers) entry.second = next++;

  double worst = 0;
  for (std::uint64_t step = 0; step < 20; ++step) {
    std::size_t at = 0;
    for (const NamedTensor& parameter : parameters) {
      for (std::int64_t i = 0; i < parameter.tensor.elements(); ++i, ++at)
        gradients.all().floats()[at] =
            world.is_root() ? golden_gradient(numbers.at(parameter.name), step, static_cast<std::uint64_t>(i))
                            : 0;
    }
    optimiser.step(gradients, rate, 0);
    for (const NamedTensor& parameter : parameters) {
      const TensorEntry* entry = golden.find(parameter.name);
      if (entry == nullptr) {
        FAIL_CHECK("no golden values of " << parameter.name);
        continue;
      }
      std::vector<float> expected(static_cast<std::size_t>(entry->shape[1])), found(expected.size());
      std::memcpy(expected.data(), entry->data.data() + step * expected.size() * sizeof(float),
                  expected.size() * sizeof(float));
      const std::vector<float> all = test::values_of(parameter.tensor);
      std::copy_n(all.begin(), found.size(), found.begin());
      worst = std::max(worst, test::largest_difference(found, expected));
    }
  }
  if (world.is_root()) std::cout << "20 steps of AdamW: weights within " << worst << " of PyTorch's\n";
  CHECK(worst < 1e-5);
}

TEST_CASE("sharded over any number of ranks the optimiser does the same to rounding", "[optimiser]") {
  const Communicator world = Communicator::world(), alone = Communicator::self();
  for (const double clip : {0.0, 1.0}) {
    double norm = 0, norm_alone = 0;
    const std::vector<float> together = weights_after(world, DType::f32, 5, clip, &norm);
    const std::vector<float> single = weights_after(alone, DType::f32, 5, clip, &norm_alone);
    CHECK(norm == Approx(norm_alone).epsilon(1e-6));
    CHECK(norm > 1);
    // A step of `rate` has the rounding of the gradient's sum, which counts where a gradient is nearly 0.
    CHECK(test::largest_difference(together, single) < 1e-5);
    if (world.size() == 1) CHECK(together == single);
  }
}

TEST_CASE("every rank has its part, the whole and the same working weights", "[optimiser]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const test::SmallModel model("qwen2_pruned");
  const Gradients gradients(model.weights, Device::cpu);
  const auto replicas = make_mpi_collectives(world);
  const ShardedAdamW optimiser(*replicas, context, model.weights, DType::f32, {});
  CHECK(optimiser.parameters() == static_cast<std::uint64_t>(gradients.all().elements()));
  const auto mine = optimiser.master().elements();
  CHECK(world.sum(mine) == gradients.all().elements());
  CHECK(world.max(mine) - world.min(mine) <= 16);
  const std::uint64_t held = static_cast<std::uint64_t>(mine) * 12;
  CHECK(held <= ShardedAdamW::bytes(gradients.all().elements(), world.size()) + 16 * 16);
  optimiser.gather_master(gradients);
  std::size_t at = 0;
  for (const NamedTensor& parameter : parameters_of(model.weights)) {
    for (const float value : test::values_of(parameter.tensor)) {
      if (value != gradients.all().floats()[at]) FAIL_CHECK(parameter.name);
      ++at;
    }
  }
}

TEST_CASE("working weights in 16 bits are the rounded master weights, which keep what is too small for them",
          "[optimiser]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  for (const DType precision : {DType::bf16, DType::f16}) {
    const test::SmallModel model("llama3_pruned", precision);
    const Gradients gradients(model.weights, Device::cpu);
    const auto replicas = make_mpi_collectives(world);
    ShardedAdamW optimiser(*replicas, context, model.weights, precision, {});
    const std::vector<float> before = test::values_of(model.weights.layers[0].ffn.gate);
    const auto step = [&](int number, double learning_rate) {
      fill_gradients(gradients, number, world.rank(), world.size());
      optimiser.step(gradients, learning_rate, 0);
      CHECK(test::largest(test::values_of(gradients.all())) == 0);
    };
    for (int number = 0; number < 3; ++number) step(number, 1e-2);
    optimiser.gather_master(gradients);
    std::size_t at = 0;
    for (const NamedTensor& parameter : parameters_of(model.weights)) {
      const auto count = static_cast<std::size_t>(parameter.tensor.elements());
      const float* master = gradients.all().floats() + at;
      INFO(parameter.name);
      CHECK(test::values_of(parameter.tensor) == rounded({master, master + count}, precision));
      at += count;
    }
    CHECK(test::values_of(model.weights.layers[0].ffn.gate) != before);
    // 300 updates in one direction, each a tenth of the spacing of bf16 numbers of that size and less, add
    // up.
    const std::vector<float> start = test::values_of(model.weights.layers[0].ffn.gate);
    for (int number = 0; number < 300; ++number) {
      for (float& value : gradients.all().float_span()) value = 1;
      optimiser.step(gradients, 1e-5, 0);
    }
    double moved = 0;
    const std::vector<float> end = test::values_of(model.weights.layers[0].ffn.gate);
    for (std::size_t i = 0; i < end.size(); ++i) moved += static_cast<double>(start[i]) - end[i];
    CHECK(moved / static_cast<double>(end.size()) == Approx(300 * 1e-5).epsilon(0.1));
  }
}

TEST_CASE("a gradient that is not finite on any rank changes nothing", "[optimiser]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const test::SmallModel model("qwen2_pruned");
  const Gradients gradients(model.weights, Device::cpu);
  const auto replicas = make_mpi_collectives(world);
  ShardedAdamW optimiser(*replicas, context, model.weights, DType::f32, {});
  const std::vector<float> before = test::values_of(optimiser.master());
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    fill_gradients(gradients, 0, world.rank(), world.size());
    if (world.rank() == world.size() - 1) gradients.all().floats()[7] = bad;
    CHECK(!std::isfinite(optimiser.step(gradients, rate, 1)));
    CHECK(optimiser.steps() == 0);
    CHECK(test::values_of(optimiser.master()) == before);
    CHECK(test::largest(test::values_of(optimiser.second_moment())) == 0);
  }
}

TEST_CASE("a step that asks for no norm does the same, and says whether the gradient was finite",
          "[optimiser]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const auto replicas = make_mpi_collectives(world);
  const test::SmallModel one("llama3_pruned", DType::bf16), other("llama3_pruned", DType::bf16);
  const Gradients gradients(one.weights, Device::cpu);
  ShardedAdamW with_norm(*replicas, context, one.weights, DType::bf16, {}),
      without(*replicas, context, other.weights, DType::bf16, {});
  for (int number = 0; number < 3; ++number) {
    fill_gradients(gradients, number, world.rank(), world.size());
    with_norm.step(gradients, rate, 0);
    fill_gradients(gradients, number, world.rank(), world.size());
    CHECK(without.step_unclipped(gradients, rate));
    CHECK(test::largest(test::values_of(gradients.all())) == 0);
  }
  CHECK(without.steps() == with_norm.steps());
  CHECK(test::values_of(with_norm.master()) == test::values_of(without.master()));
  const std::vector<NamedTensor> a = parameters_of(one.weights), b = parameters_of(other.weights);
  for (std::size_t i = 0; i < a.size(); ++i)
    CHECK(test::values_of(a[i].tensor) == test::values_of(b[i].tensor));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    fill_gradients(gradients, 0, world.rank(), world.size());
    if (world.rank() == world.size() - 1) gradients.all().floats()[7] = bad;
    CHECK(!without.step_unclipped(gradients, rate));
  }
}
