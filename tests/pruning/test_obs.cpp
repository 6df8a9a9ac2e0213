#include "obs_problem.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <galapagos/core/error.hpp>

using namespace galapagos;
using namespace galapagos::test;

TEST_CASE("columns are removed as the fp64 oracle removes them", "[obs]") {
  struct Case {
    std::int64_t d_row, n;
    int dead;
    std::vector<std::int64_t> removed;
  };
  const Case cases[] = {{24, 61, 0, {1, 7, 30, 61}},
                        {40, 150, 3, {20, 64, 65, 129, 150}},
                        {9, 200, 5, {100, 199, 200}},
                        {1, 1, 0, {1}},
                        {130, 97, 0, {5, 96}}};
  unsigned seed = 7;
  for (const Case& test : cases) {
    const RandomProblem random = random_problem(test.d_row, test.n, ++seed, test.dead);
    const ObsProblem problem = as_obs(random, 1, test.removed);
    check_against_oracle(random, problem, run_obs(problem));
  }
}

TEST_CASE("heads and groups are removed as the fp64 oracle removes them", "[obs]") {
  for (const std::int64_t unit : {4, 8, 24}) {
    const RandomProblem random = random_problem(36, 96, static_cast<unsigned>(unit), unit == 8 ? 3 : 0);
    std::vector<std::int64_t> removed(static_cast<std::size_t>(96 / unit));
    std::iota(removed.begin(), removed.end(), 1);
    const ObsProblem problem = as_obs(random, unit, removed);
    check_against_oracle(random, problem, run_obs(problem));
  }
}

TEST_CASE("per-group removal takes one head out of every group in a round", "[obs]") {
  const RandomProblem random = random_problem(20, 96, 5, 0);
  ObsProblem problem = as_obs(random, 8, {3, 6, 9, 12});  // 12 heads in 3 groups of 4
  problem.round = 4;
  const Run run = run_obs(problem);
  check_against_oracle(random, problem, run);
  for (std::size_t round = 0; round < 4; ++round) {
    std::set<std::int32_t> groups;
    for (std::size_t i = 0; i < 3; ++i) groups.insert(run.summary.order[3 * round + i] / 4);
    CHECK(groups.size() == 3);
  }
}

TEST_CASE("an indefinite Hessian is damped further, a hopeless one is refused", "[obs]") {
  const RandomProblem random = random_problem(8, 40, 11, 0);
  ObsProblem problem = as_obs(random, 1, {20, 40});
  // An eigenvalue of about -5 % of the mean diagonal: 1e-2 is not enough, 1e-1 is.
  double mean = 0;
  for (std::int64_t j = 0; j < 40; ++j) mean += problem.hessian->floats()[j * 41] / 40;
  std::fill_n(problem.hessian->floats() + 39 * 40, 39, 0.0f);
  problem.hessian->floats()[39 * 41] = static_cast<float>(-0.05 * mean);
  const Run run = run_obs(problem);
  CHECK(run.summary.attempts == 2);
  CHECK(run.summary.relative_damping == Approx(0.1));
  CHECK(run.summary.order.size() == 40);

  problem.hessian->floats()[5 * 40 + 5] = std::nanf("");
  CHECK_THROWS_AS(run_obs(problem), NumericalError);
}

TEST_CASE("what saw no input loses the columns of least norm, and the others stay as they are", "[obs]") {
  const std::int64_t d_row = 12, n = 50;
  const RandomProblem random = random_problem(d_row, n, 13, 0);
  ObsProblem problem = as_obs(random, 1, {10, 35, 50});
  std::ranges::fill(problem.hessian->float_span(), 0.0f);
  problem.least_mean = 2;
  const Run run = run_obs(problem);
  CHECK(run.summary.dead_columns == 0);
  CHECK(run.summary.attempts == 1);
  std::vector<double> norms(static_cast<std::size_t>(n), 0.0);
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i < d_row; ++i)
      norms[static_cast<std::size_t>(j)] +=
          std::pow(static_cast<double>(problem.weight->floats()[j * d_row + i]), 2);
  }
  std::vector<std::int32_t> by_norm(static_cast<std::size_t>(n));
  std::iota(by_norm.begin(), by_norm.end(), 0);
  std::ranges::stable_sort(by_norm, {}, [&](std::int32_t j) { return norms[static_cast<std::size_t>(j)]; });
  CHECK(run.summary.order == by_norm);
  double loss = 0;
  for (std::size_t i = 0; i < by_norm.size(); ++i) {
    // A column of W that is zero costs nothing, whatever its diagonal.
    loss += problem.relative_damping * problem.least_mean * norms[static_cast<std::size_t>(by_norm[i])] / 2;
    CHECK(run.summary.loss[i] == Approx(loss).epsilon(1e-4).margin(1e-9));
  }
  for (const Level& level : run.levels) {
    for (std::size_t k = 0; k < level.kept.size(); ++k) {
      const float* const row = problem.weight->floats() + level.kept[k] * d_row;
      CHECK(std::equal(row, row + d_row, level.weight.begin() + static_cast<std::ptrdiff_t>(k) * d_row));
    }
  }
}

TEST_CASE("a least mean below the Hessian's own changes nothing, one above damps more", "[obs]") {
  const RandomProblem random = random_problem(20, 60, 17, 0);
  const ObsProblem plain = as_obs(random, 1, {20, 60});
  double mean = 0;
  for (std::int64_t j = 0; j < 60; ++j) mean += static_cast<double>(plain.hessian->floats()[j * 61]) / 60;
  const Run wanted = run_obs(plain);
  ObsProblem below = as_obs(random, 1, {20, 60});
  below.least_mean = mean / 2;
  const Run same = run_obs(below);
  CHECK(same.summary.order == wanted.summary.order);
  CHECK(same.summary.loss == wanted.summary.loss);
  CHECK(same.levels[0].weight == wanted.levels[0].weight);
  // As many times the mean as the damping is times larger.
  ObsProblem above = as_obs(random, 1, {20, 60}), damped = as_obs(random, 1, {20, 60});
  above.least_mean = 8 * mean;
  damped.relative_damping *= 8;
  const Run one = run_obs(above), other = run_obs(damped);
  CHECK(one.summary.order == other.summary.order);
  CHECK(one.summary.loss.back() == Approx(other.summary.loss.back()).epsilon(1e-4));
  CHECK(one.summary.loss.back() > 1.001 * wanted.summary.loss.back());
}
