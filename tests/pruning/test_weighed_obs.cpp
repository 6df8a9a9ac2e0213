// Structured OBS whose order is weighed by the end loss, against the quadratic forms in fp64.
#include "obs_problem.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

constexpr double magnitude = 3e-7;  // of G as real models have it: nats per squared unit

/// G of a few directions that matter much more than others and of less than full rank, as fp32 stores it.
std::vector<double> random_metric(std::int64_t d_row, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const std::int64_t rank = (d_row + 1) / 2;
  std::vector<double> metric(static_cast<std::size_t>(d_row * d_row));
  for (std::int64_t k = 0; k < rank; ++k) {
    const double strength = std::exp(-5.0 * static_cast<double>(k) / static_cast<double>(rank));
    std::vector<double> direction(static_cast<std::size_t>(d_row));
    for (double& value : direction) value = normal(random);
    for (std::int64_t i = 0; i < d_row; ++i) {
      for (std::int64_t j = 0; j < d_row; ++j) {
        metric[static_cast<std::size_t>(i * d_row + j)] += magnitude * strength *
                                                           direction[static_cast<std::size_t>(i)] *
                                                           direction[static_cast<std::size_t>(j)];
      }
    }
  }
  for (double& value : metric) value = static_cast<float>(value);
  return metric;
}

std::vector<float> lower_of(const std::vector<double>& metric, std::int64_t d_row) {
  std::vector<float> lower;
  for (std::int64_t i = 0; i < d_row; ++i) {
    for (std::int64_t j = 0; j <= i; ++j)
      lower.push_back(static_cast<float>(metric[static_cast<std::size_t>(i * d_row + j)]));
  }
  return lower;
}

Sensitivity full(const std::vector<double>& metric, std::int64_t d_row) {
  return full_sensitivity(ops::Context(), lower_of(metric, d_row), d_row, "test");
}

/// A problem with a full G, and its order checked against the oracle's.
void check_weighed(RandomProblem random, std::int64_t unit, std::int64_t round,
                   std::vector<std::int64_t> removed, unsigned seed) {
  random.metric = random_metric(random.d_row, seed);
  ObsProblem problem = as_obs(random, unit, std::move(removed));
  problem.round = round;
  const Run plain = run_obs(problem);
  problem.sensitivity = full(random.metric, random.d_row);
  const Run weighed = run_obs(problem);
  check_against_oracle(random, problem, weighed);
  if (random.d_row > 1 && weighed.summary.order.size() > 6)
    CHECK(plain.summary.order != weighed.summary.order);
}

}  // namespace

TEST_CASE("columns go in the order of the end loss, and what they cost in it is exact", "[obs]") {
  struct Case {
    std::int64_t d_row, n;
    int dead;
    std::vector<std::int64_t> removed;
  };
  const Case cases[] = {{24, 61, 0, {1, 7, 30, 61}},
                        {40, 150, 3, {20, 64, 65, 129, 150}},
                        {9, 200, 5, {100, 199, 200}},
                        {1, 1, 0, {1}},
                        {70, 97, 0, {5, 96}}};
  unsigned seed = 40;
  for (const Case& test : cases) {
    ++seed;
    check_weighed(random_problem(test.d_row, test.n, seed, test.dead), 1, 0, test.removed, seed);
  }
}

TEST_CASE("heads and groups go in the order of the end loss", "[obs]") {
  for (const std::int64_t unit : {4, 8, 24}) {
    std::vector<std::int64_t> removed(static_cast<std::size_t>(96 / unit));
    std::iota(removed.begin(), removed.end(), 1);
    const auto seed = static_cast<unsigned>(unit);
    check_weighed(random_problem(36, 96, seed, unit == 8 ? 3 : 0), unit, 0, removed, seed);
  }
}

TEST_CASE("rounds over groups weigh by the end loss, too", "[obs]") {
  check_weighed(random_problem(20, 96, 5, 0), 8, 4, {3, 6, 9, 12}, 6);
}

TEST_CASE("inputs of very different size leave the end loss exact where the damping outweighs them",
          "[obs]") {
  // Columns whose mean square is far below the damping: nearly all of a score is the damping's.
  RandomProblem random = random_problem(30, 80, 17, 2);
  for (std::int64_t a = 0; a < random.n; ++a) {
    for (std::int64_t b = 0; b < random.n; ++b) {
      const double scale = std::pow(10.0, -0.5 * static_cast<double>(a % 5 + b % 5));
      double& value = random.hessian[static_cast<std::size_t>(a * random.n + b)];
      value = static_cast<float>(value * scale);
    }
  }
  check_weighed(random, 1, 0, {5, 16, 40, 70, 80}, 18);
}

TEST_CASE("where the damping is raised, end losses are still those of the Hessian as given", "[obs]") {
  RandomProblem random = random_problem(8, 40, 11, 0);
  double mean = 0;
  for (std::int64_t j = 0; j < 40; ++j) mean += random.hessian[static_cast<std::size_t>(j * 41)] / 40;
  for (std::int64_t j = 0; j < 39; ++j)
    random.hessian[static_cast<std::size_t>(39 * 40 + j)] =
        random.hessian[static_cast<std::size_t>(j * 40 + 39)] = 0;
  random.hessian[39 * 41] = static_cast<float>(-0.05 * mean);
  random.metric = random_metric(8, 12);
  ObsProblem problem = as_obs(random, 1, {20, 40});
  problem.sensitivity = full(random.metric, 8);
  const Run run = run_obs(problem);
  CHECK(run.summary.attempts == 2);
  problem.relative_damping = run.summary.relative_damping;  // what the oracle damps with
  check_against_oracle(random, problem, run);
}

TEST_CASE("a G that is a multiple of the identity leaves the plain order", "[obs]") {
  RandomProblem random = random_problem(24, 90, 31, 2);
  const std::vector<std::int64_t> removed = {10, 45, 90};
  const Run plain = run_obs(as_obs(random, 1, removed));
  random.metric.assign(24 * 24, 0.0);
  for (std::size_t i = 0; i < 24; ++i) random.metric[i * 25] = static_cast<float>(magnitude);
  std::vector<Sensitivity> forms;
  forms.push_back(full(random.metric, 24));
  forms.push_back(
      diagonal_sensitivity(ops::Context(), std::vector<float>(24, static_cast<float>(magnitude)), "test"));
  forms.push_back(scalar_sensitivity(static_cast<float>(magnitude), "test"));
  for (Sensitivity& form : forms) {
    const bool scalar = form.root->data == nullptr;
    ObsProblem problem = as_obs(random, 1, removed);
    problem.sensitivity = std::move(form);
    const Run run = run_obs(problem);
    CHECK(run.summary.order == plain.summary.order);
    check_against_oracle(random, problem, run);
    if (!scalar) continue;
    CHECK(run.summary.loss == plain.summary.loss);
    for (std::size_t level = 0; level < run.levels.size(); ++level)
      CHECK(run.levels[level].weight == plain.levels[level].weight);
  }
}

TEST_CASE("a diagonal of G weighs as the matrix of it", "[obs]") {
  RandomProblem random = random_problem(16, 64, 33, 1);
  std::vector<float> diagonal;
  random.metric.assign(16 * 16, 0.0);
  for (std::size_t i = 0; i < 16; ++i) {
    diagonal.push_back(static_cast<float>(magnitude * std::pow(0.5, static_cast<double>(i))));
    random.metric[i * 17] = diagonal.back();
  }
  ObsProblem problem = as_obs(random, 1, {10, 32, 64});
  problem.sensitivity = diagonal_sensitivity(ops::Context(), diagonal, "test");
  check_against_oracle(random, problem, run_obs(problem));
}

TEST_CASE("a module that nothing downstream feels costs nothing, in the plain order", "[obs]") {
  const RandomProblem random = random_problem(12, 40, 35, 0);
  ObsProblem problem = as_obs(random, 1, {20, 40});
  const Run plain = run_obs(problem);
  problem.sensitivity = full_sensitivity(ops::Context(), std::vector<float>(12 * 13 / 2, 0.0f), 12, "test");
  const Run run = run_obs(problem);
  CHECK(run.summary.order == plain.summary.order);
  CHECK(run.summary.end_loss == std::vector<double>(3, 0.0));
}

TEST_CASE("a G that is no mean of squares is refused", "[obs]") {
  const ops::Context context;
  CHECK_THROWS_AS(full_sensitivity(context, std::vector<float>{1, 0, NAN}, 2, "test"), NumericalError);
  CHECK_THROWS_AS(full_sensitivity(context, std::vector<float>{1, 9, 1}, 2, "test"), NumericalError);
  CHECK_THROWS_AS(diagonal_sensitivity(context, std::vector<float>{1, -1}, "test"), NumericalError);
  CHECK_THROWS_AS(scalar_sensitivity(INFINITY, "test"), NumericalError);
  // Not quite semidefinite, as rounding leaves it: a larger multiple of the identity is needed.
  CHECK(full_sensitivity(context, std::vector<float>{1, 1.005f, 1}, 2, "test").ridge == Approx(0.01));
}
