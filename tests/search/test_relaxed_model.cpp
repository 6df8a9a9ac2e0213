#include "replica_bench.hpp"
#include "support/catch.hpp"

#include <cmath>

using namespace galapagos;
using Bench = test::ReplicaBench;
using test::draw_of;
using test::ModelSearch;

namespace {

RelaxedLevels levels_between(const ModelSearch& model) {
  RelaxedLevels levels;
  for (std::size_t i = 0; i < model.space.modules.size(); ++i) {
    const double last = model.space.modules[i].last();
    levels.push_back(last * (0.5 + 0.45 * std::sin(1.3 * static_cast<double>(i))));
    if (i < 2) levels.back() = last - 0.3;  // on the way to nothing
  }
  return levels;
}

RelaxedGradient gradient_of(Bench& bench, const Fitness& fitness, const RelaxedLevels& levels,
                            const TokenDraw& draw, bool recompute = false) {
  const auto relaxed = bench.replica.relaxed(fitness, 64, recompute);
  return relaxed->gradient(levels, bench.model.pool, draw, bench.answers, {}).value();
}

}  // namespace

TEST_CASE("at whole levels a relaxed model's loss is an assignment's fitness", "[relaxed]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "biased_tiny"}) {
    const ModelSearch model =
        test::make_model_search(world, test::small_database(name, folder / (std::string(name) + ".h5")));
    Bench bench(world, model, DType::f32, LevelHome::file, 1 << 30, true);
    std::mt19937 random(4);
    const TokenDraw draw = draw_of(model, 100);
    for (const Fitness& fitness :
         {Fitness{FitnessKind::kl, 0}, Fitness{FitnessKind::tv, 0}, Fitness{FitnessKind::nll, 0}}) {
      for (int i = 0; i < 3; ++i) {
        Assignment assignment = model.random_assignment(random);
        if (i == 2)  // everything gone, biases as well
          for (std::size_t m = 0; m < assignment.size(); ++m) assignment[m] = model.space.modules[m].last();
        const double expected = bench.fitness(fitness, assignment, {assignment}, draw).front();
        const RelaxedGradient found =
            gradient_of(bench, fitness, {assignment.begin(), assignment.end()}, draw);
        INFO(name << " " << static_cast<int>(fitness.kind) << " " << i);
        CHECK(std::abs(found.loss / static_cast<double>(draw.predicted()) - expected) <
              2e-5 * (1 + expected));
      }
    }
  }
}

TEST_CASE("a relaxed model's gradient is what its loss changes by", "[relaxed]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_tiny", "qwen3_tiny", "biased_tiny"}) {
    const ModelSearch model =
        test::make_model_search(world, test::small_database(name, folder / (std::string(name) + ".h5")));
    Bench bench(world, model, DType::f32, LevelHome::file, 1 << 30, true);
    const TokenDraw draw = draw_of(model, 120);
    const RelaxedLevels levels = levels_between(model);
    for (const Fitness& fitness : {Fitness{FitnessKind::kl, 0}, Fitness{FitnessKind::tv, 0}}) {
      const RelaxedGradient found = gradient_of(bench, fitness, levels, draw);
      const RelaxedGradient again = gradient_of(bench, fitness, levels, draw, true);
      double greatest = 0;
      for (const double slope : found.levels) greatest = std::max(greatest, std::abs(slope));
      CHECK(greatest > 0);
      for (std::size_t i = 0; i < levels.size(); ++i) {
        CHECK(std::abs(found.levels[i] - again.levels[i]) < 1e-5 * greatest);
        constexpr double step = 0.004;  // within one pair of levels, where the weight is linear
        RelaxedLevels up = levels, down = levels;
        const double below = std::floor(levels[i]);
        up[i] = std::min(levels[i] + step, below + 1);
        down[i] = std::max(levels[i] - step, below);
        const double difference =
            gradient_of(bench, fitness, up, draw).loss - gradient_of(bench, fitness, down, draw).loss;
        INFO(name << " " << name_of(fitness.kind) << " module " << i << ": " << found.levels[i]);
        CHECK(std::abs(difference / (up[i] - down[i]) - found.levels[i]) < 0.02 * greatest);
      }
    }
  }
}
