#include "obs_problem.hpp"

#include "support/catch.hpp"
#include "support/fp64_obs.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace galapagos::test {
namespace {

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

/// G + a thousandth of its mean diagonal: what the program weighs the order with.
std::vector<double> raised(std::vector<double> metric, std::int64_t d_row) {
  if (metric.empty()) return metric;
  double mean = 0;
  for (std::int64_t i = 0; i < d_row; ++i)
    mean += metric[static_cast<std::size_t>(i * (d_row + 1))] / static_cast<double>(d_row);
  for (std::int64_t i = 0; i < d_row; ++i) metric[static_cast<std::size_t>(i * (d_row + 1))] += 1e-3 * mean;
  return metric;
}

}  // namespace

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
  RandomProblem problem{d_row,
                        n,
                        std::vector<double>(static_cast<std::size_t>(d_row * n)),
                        std::vector<double>(static_cast<std::size_t>(n * n)),
                        {}};
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

void check_against_oracle(const RandomProblem& random, const ObsProblem& problem, const Run& run) {
  Fp64Obs oracle(random.weight, random.hessian, random.d_row, random.n, problem.unit,
                 problem.relative_damping);
  oracle.metric = raised(random.metric, random.d_row);
  const std::int64_t structures = random.n / problem.unit;
  REQUIRE(run.summary.end_loss.size() == (random.metric.empty() ? 0 : problem.removed.size() + 1));
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
    if (!random.metric.empty()) {
      const double end =
          end_loss(random.metric, oracle.weight, oracle.initial, random.hessian, random.d_row, random.n);
      REQUIRE(run.summary.end_loss.front() == 0);
      REQUIRE(run.summary.end_loss[level] == Approx(end).epsilon(1e-4).margin(0));
    }
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
    const auto optimal = optimal_weight(oracle.initial, oracle.damped, random.d_row, random.n, found.kept);
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
    const double loss = reconstruction_loss(full, oracle.initial, oracle.damped, random.d_row, random.n);
    REQUIRE(run.summary.loss[step] == Approx(loss).epsilon(1e-3).margin(1e-6));
  }
  REQUIRE(level == problem.removed.size());
}

}  // namespace galapagos::test
