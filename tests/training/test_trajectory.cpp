#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

#include <cmath>
#include <functional>
#include <iostream>

#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/optimiser.hpp>
#include <galapagos/training/schedule.hpp>

using namespace galapagos;

// Rounding grows over the steps: noise of 1e-7 on the initial weights alone changes single final values of
// the golden run by 1e-4, since AdamW's first steps are as long for a gradient of 1e-8 as for one of 1
// (tools/goldens/training.py). So the losses and the weights in the root mean square are held to 1e-5, and
// single weights to a tenth of one step's length. The optimiser with given gradients is held to 1e-5 in
// test_optimiser.cpp.
namespace {

constexpr double loss_tolerance = 1e-5, mean_tolerance = 1e-5, single_tolerance = 1e-3;

/// Trains as the script does, the gradient coming from the root, and calls see(step, loss, norm) after each
/// step.
void train(const test::SmallModel& model, const test::GoldenTraining& golden,
           const std::function<double(std::int64_t)>& rate, double clip,
           const std::function<void(std::size_t, double, double)>& see) {
  const ops::Context context;
  const Communicator world = Communicator::world();
  AdamWOptions options;
  options.weight_decay = 0.1;
  const auto replicas = make_mpi_collectives(world);
  ShardedAdamW optimiser(*replicas, context, model.weights, DType::f32, options);
  const Gradients gradients(model.weights, Device::cpu);
  TrainingPass pass(context, model.config, 33, false);
  for (std::int64_t step = 0; step < golden.steps(); ++step) {
    const Batch batch = golden.batch(step);
    const auto predicted = static_cast<double>(predicted_tokens(batch.offsets));
    const auto weight = static_cast<float>(1 / predicted);
    const double loss = pass.run(model.weights, batch, weight, {}, gradients).all / predicted;
    if (!world.is_root()) fill_zero(gradients.all());
    see(static_cast<std::size_t>(step), loss, optimiser.step(gradients, rate(step), clip));
  }
}

}  // namespace

TEST_CASE("20 steps of AdamW go where PyTorch's go", "[training]") {
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned"}) {
    const test::SmallModel model(name);
    const test::GoldenTraining golden(name);
    const std::vector<float> losses = golden.values("losses");
    double worst_loss = 0, worst_weight = 0, squares = 0, count = 0;
    train(
        model, golden, [](std::int64_t) { return 1e-2; }, 0,
        [&](std::size_t step, double loss, double) {
          worst_loss = std::max(worst_loss, std::abs(loss - losses[step]));
        });
    for (const NamedTensor& parameter : parameters_of(model.weights)) {
      const std::vector<float> found = test::values_of(parameter.tensor),
                               expected = golden.final_values(parameter.name);
      worst_weight = std::max(worst_weight, test::largest_difference(found, expected));
      for (std::size_t i = 0; i < found.size(); ++i)
        squares += std::pow(static_cast<double>(found[i]) - expected[i], 2);
      count += static_cast<double>(found.size());
    }
    const double mean = std::sqrt(squares / count);
    std::cout << name << ": losses within " << worst_loss << ", final weights within " << worst_weight
              << ", in the root mean square " << mean << '\n';
    CHECK(worst_loss < loss_tolerance);
    CHECK(mean < mean_tolerance);
    CHECK(worst_weight < single_tolerance);
  }
}

TEST_CASE("a scheduled and clipped run goes where PyTorch's goes", "[training]") {
  Schedule schedule;
  schedule.decay = Decay::cosine;
  schedule.peak = 1e-2;
  schedule.least = 1e-3;
  schedule.warmup = 5;
  schedule.steps = 20;
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned"}) {
    const test::SmallModel model(name);
    const test::GoldenTraining golden(name);
    const std::vector<float> losses = golden.values("schedule.losses"),
                             norms = golden.values("schedule.norms");
    double worst_loss = 0, worst_norm = 0;
    train(
        model, golden, [&](std::int64_t step) { return schedule.at(step); }, 0.5,
        [&](std::size_t step, double loss, double norm) {
          worst_loss = std::max(worst_loss, std::abs(loss - losses[step]));
          worst_norm = std::max(worst_norm, std::abs(norm - norms[step]) / norms[step]);
        });
    std::cout << name << ": losses within " << worst_loss << ", norms within " << worst_norm << '\n';
    // Other optimisations round otherwise: 1.6e-5 and 2.4e-5 under the sanitizers.
    CHECK(worst_loss < 5e-5);
    CHECK(worst_norm < 1e-4);
    CHECK(test::largest(norms) > 0.5);  // so that clipping has been seen to work
  }
}
