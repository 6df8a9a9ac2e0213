#include "support/catch.hpp"
#include "support/fp64_obs.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/obs.hpp>

using namespace galapagos;

namespace {

struct Level {
  std::vector<std::int64_t> kept;
  std::vector<float> weight;  // [kept, d_row]
};

struct RandomProblem {
  std::int64_t d_row, n;
  std::vector<double> weight;   // [d_row, n]
  std::vector<double> hessian;  // [n, n]
};

// Correlated inputs, so that removals really change the others; some columns dead, one column of W zero.
RandomProblem random_problem(std::int64_t d_row, std::int64_t n, unsigned seed, int dead) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const std::int64_t tokens = 3 * n;
  std::vector<double> inputs(static_cast<std::size_t>(tokens * n));
  for (std::int64_t t = 0; t < tokens; ++t) {
    double common = normal(random);
    for (std::int64_t j = 0; j < n; ++j) {
      common = 0.7 * common + normal(random);
      inputs[static_cast<std::size_t>(t * n + j)] = common * (0.5 + static_cast<double>(j % 7));
    }
  }
  std::uniform_int_distribution<std::int64_t> pick(0, n - 1);
  for (int i = 0; i < dead; ++i) {
    const std::int64_t column = pick(random);
    for (std::int64_t t = 0; t < tokens; ++t) inputs[static_cast<std::size_t>(t * n + column)] = 0;
  }
  RandomProblem problem{d_row, n, std::vector<double>(static_cast<std::size_t>(d_row * n)),
                        std::vector<double>(static_cast<std::size_t>(n * n))};
  for (double& value : problem.weight) value = static_cast<float>(normal(random));
  if (dead > 0) {
    const std::int64_t zero = pick(random);
    for (std::int64_t i = 0; i < d_row; ++i) problem.weight[static_cast<std::size_t>(i * n + zero)] = 0;
  }
  for (std::int64_t a = 0; a < n; ++a) {
    for (std::int64_t b = 0; b < n; ++b) {
      double sum = 0;
      for (std::int64_t t = 0; t < tokens; ++t) {
        sum += inputs[static_cast<std::size_t>(t * n + a)] * inputs[static_cast<std::size_t>(t * n + b)];
      }
      problem.hessian[static_cast<std::size_t>(a * n + b)] =
          static_cast<float>(2 * sum / static_cast<double>(tokens));
    }
  }
  return problem;
}

ObsProblem as_obs(const RandomProblem& random, std::int64_t unit, std::vector<std::int64_t> removed) {
  ObsProblem problem;
  problem.name = "test";
  problem.unit = unit;
  problem.removed = std::move(removed);
  problem.weight = OwnedTensor({random.n, random.d_row}, DType::f32, Device::cpu, "test");
  problem.hessian = OwnedTensor({random.n, random.n}, DType::f32, Device::cpu, "test");
  for (std::int64_t j = 0; j < random.n; ++j) {
    for (std::int64_t i = 0; i < random.d_row; ++i) {
      problem.weight->floats()[j * random.d_row + i] =
          static_cast<float>(random.weight[static_cast<std::size_t>(i * random.n + j)]);
    }
    for (std::int64_t i = 0; i < random.n; ++i) {
      // What lies above the diagonal must not matter.
      problem.hessian->floats()[j * random.n + i] =
          i <= j ? static_cast<float>(random.hessian[static_cast<std::size_t>(j * random.n + i)])
                 : std::nanf("");
    }
  }
  return problem;
}

struct Run {
  ObsSummary summary;
  std::vector<Level> levels;
};

Run run_obs(const ObsProblem& problem) {
  Run run;
  run.levels.resize(problem.removed.size());
  run.summary = structured_obs(
      ops::Context(), problem,
      [&](std::int64_t level, std::span<const std::int64_t> kept, const Tensor& weight) {
        run.levels[static_cast<std::size_t>(level - 1)] = {
            {kept.begin(), kept.end()}, {weight.float_span().begin(), weight.float_span().end()}};
      });
  return run;
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

// Order, losses and every level against the fp64 oracle that has removed the same structures, and against the
// closed form.
void check_against_oracle(const RandomProblem& random, const ObsProblem& problem, const Run& run) {
  test::Fp64Obs oracle(random.weight, random.hessian, random.d_row, random.n, problem.unit,
                       problem.relative_damping);
  const std::int64_t structures = random.n / problem.unit;
  std::size_t level = 0;
  for (std::size_t step = 0; step < run.summary.order.size(); ++step) {
    std::vector<bool> allowed(static_cast<std::size_t>(structures), true);
    if (problem.round > 0) {
      const std::size_t groups = static_cast<std::size_t>(structures / problem.round);
      for (std::size_t i = step / groups * groups; i < step; ++i) {
        const std::int64_t group = oracle.order[i] / problem.round;
        for (std::int64_t g = group * problem.round; g < (group + 1) * problem.round; ++g) {
          allowed[static_cast<std::size_t>(g)] = false;
        }
      }
    }
    oracle.remove_best(allowed);
    REQUIRE(oracle.order.back() == run.summary.order[step]);
    REQUIRE(run.summary.loss[step] == Approx(oracle.loss).epsilon(1e-4).margin(1e-6));
    if (static_cast<std::int64_t>(step) + 1 != problem.removed[level]) continue;
    const Level& found = run.levels[level++];
    const double scale = largest(oracle.weight) + 1e-30;
    for (std::size_t k = 0; k < found.kept.size(); ++k) {
      REQUIRE(!oracle.gone[static_cast<std::size_t>(found.kept[k] / problem.unit)]);
      for (std::int64_t i = 0; i < random.d_row; ++i) {
        const double expected = oracle.weight[static_cast<std::size_t>(i * random.n + found.kept[k])];
        const double value =
            found.weight[k * static_cast<std::size_t>(random.d_row) + static_cast<std::size_t>(i)];
        REQUIRE(std::abs(value - expected) <= 1e-4 * scale);
      }
    }
    if (found.kept.empty()) continue;
    const auto optimal =
        test::optimal_weight(oracle.initial, oracle.damped, random.d_row, random.n, found.kept);
    const double optimal_scale = largest(optimal) + 1e-30;
    std::vector<double> full(oracle.weight.size(), 0.0);
    for (std::size_t k = 0; k < found.kept.size(); ++k) {
      for (std::int64_t i = 0; i < random.d_row; ++i) {
        const double value =
            found.weight[k * static_cast<std::size_t>(random.d_row) + static_cast<std::size_t>(i)];
        REQUIRE(std::abs(value - optimal[static_cast<std::size_t>(i) * found.kept.size() + k]) <=
                1e-4 * optimal_scale);
        full[static_cast<std::size_t>(i * random.n + found.kept[k])] = value;
      }
    }
    const double loss =
        test::reconstruction_loss(full, oracle.initial, oracle.damped, random.d_row, random.n);
    REQUIRE(run.summary.loss[step] == Approx(loss).epsilon(1e-3).margin(1e-6));
  }
  REQUIRE(level == problem.removed.size());
}

}  // namespace

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
