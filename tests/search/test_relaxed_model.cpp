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

RelaxedGradient gradient_of(Bench& bench, const Fitness& fitness, const RelaxedPoint& point,
                            const TokenDraw& draw, bool recompute = false) {
  const auto relaxed = bench.replica.relaxed(fitness, 64, recompute);
  return relaxed->gradient(point, bench.model.pool, draw, bench.answers, {}).value();
}

RelaxedGradient gradient_of(Bench& bench, const Fitness& fitness, const RelaxedLevels& levels,
                            const TokenDraw& draw, bool recompute = false) {
  return gradient_of(bench, fitness, point_at(bench.model.space, levels), draw, recompute);
}

/// A whole assignment, reached from the level before wherever there is one.
RelaxedPoint from_below(const SearchSpace& space, const Assignment& assignment) {
  RelaxedPoint point = point_at(space, {assignment.begin(), assignment.end()});
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (point.share[i] > 0 || assignment[i] == 0) continue;
    --point.below[i];
    point.share[i] = 1;
  }
  return point;
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
        const RelaxedLevels levels(assignment.begin(), assignment.end());
        INFO(name << " " << static_cast<int>(fitness.kind) << " " << i);
        for (const RelaxedPoint& point :
             {point_at(model.space, levels), from_below(model.space, assignment)}) {
          const RelaxedGradient found = gradient_of(bench, fitness, point, draw);
          CHECK(std::abs(found.loss / static_cast<double>(draw.predicted()) - expected) <
                2e-5 * (1 + expected));
        }
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
        // Total variation has kinks, where probabilities are equal, of which a step may cross some.
        const double most = fitness.kind == FitnessKind::tv ? 0.04 : 0.02;
        CHECK(std::abs(difference / (up[i] - down[i]) - found.levels[i]) < most * greatest);
      }
    }
  }
}

TEST_CASE("a relaxed model is rounded to either level as often as it is near it", "[relaxed]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ModelSearch model =
      test::make_model_search(world, test::small_database("llama3_tiny", folder / "llama3_tiny.h5"));
  const RelaxedLevels levels = levels_between(model);
  const RelaxedPoint exact = point_at(model.space, levels);
  constexpr int draws = 2000;
  std::vector<double> mean(levels.size(), 0.0);
  for (int i = 0; i < draws; ++i) {
    const RandomStream random(7, {0, static_cast<std::uint32_t>(i), 0, 11});
    const RelaxedPoint one = rounded_point(model.space, levels, random, false),
                       other = rounded_point(model.space, levels, random, true);
    CHECK(one.below == exact.below);
    CHECK(other.below == exact.below);
    for (std::size_t m = 0; m < levels.size(); ++m) {
      CHECK((one.share[m] == 0 || one.share[m] == 1));
      // Of two that belong together one is up and one is down, as far as the share is near a half.
      CHECK(std::abs(one.share[m] + other.share[m] - 2 * exact.share[m]) <= 1);
      mean[m] += (one.share[m] + other.share[m]) / (2 * draws);
    }
  }
  for (std::size_t m = 0; m < levels.size(); ++m) CHECK(std::abs(mean[m] - exact.share[m]) < 0.03);
  // What is at a level already stays.
  const Assignment uniform(levels.size(), 1);
  const RelaxedPoint whole =
      rounded_point(model.space, {uniform.begin(), uniform.end()}, RandomStream(7, {0, 0, 0, 11}), false);
  for (std::size_t m = 0; m < levels.size(); ++m)
    CHECK(static_cast<double>(whole.below[m]) + whole.share[m] == 1);
}
