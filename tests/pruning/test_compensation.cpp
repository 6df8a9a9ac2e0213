#include "support/catch.hpp"
#include "support/random.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/pruning/compensation.hpp>
#include <galapagos/pruning/weight_fit.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t tokens = 60, columns = 24, hidden = 10;
constexpr double infinite = std::numeric_limits<double>::infinity();

OwnedTensor zeros(std::int64_t rows, std::int64_t width) {
  OwnedTensor tensor({rows, width}, DType::f32, Device::cpu, "test");
  fill_zero(tensor);
  return tensor;
}

/// A module's inputs a, the stream x before it, the one t to come close to, and its weight, transposed.
struct Problem {
  OwnedTensor a, x, t, weight;

  explicit Problem(std::mt19937& random)
      : a(test::random_tensor({tokens, columns}, random)),
        x(test::random_tensor({tokens, hidden}, random)),
        t(test::random_tensor({tokens, hidden}, random)),
        weight(test::random_tensor({columns, hidden}, random)) {}

  double input(std::int64_t token, std::int64_t column) const {
    return a->floats()[token * columns + column];
  }
  double wanted(std::int64_t token, std::int64_t j) const {
    return static_cast<double>(t->floats()[token * hidden + j]) - x->floats()[token * hidden + j];
  }

  FitSums sums() const {
    FitSums found{zeros(columns, columns), zeros(columns, hidden)};
    const ops::Context context;
    ops::accumulate_gram(context, a, 1, found.gram);
    const OwnedTensor left = zeros(tokens, hidden);
    for (std::int64_t i = 0; i < tokens; ++i) {
      for (std::int64_t j = 0; j < hidden; ++j) {
        double sum = wanted(i, j);
        for (std::int64_t k = 0; k < columns; ++k) sum -= input(i, k) * weight->floats()[k * hidden + j];
        left->floats()[i * hidden + j] = static_cast<float>(sum);
      }
    }
    ops::linear_weight_gradient(context, a, left, found.residual);
    return found;
  }

  /// sum |x + W a - t|^2 where only some columns are there.
  double error(const std::vector<std::int64_t>& kept, const Tensor& w) const {
    double sum = 0;
    for (std::int64_t i = 0; i < tokens; ++i) {
      for (std::int64_t j = 0; j < hidden; ++j) {
        double left = -wanted(i, j);
        for (std::size_t k = 0; k < kept.size(); ++k)
          left += input(i, kept[k]) * w.floats()[static_cast<std::int64_t>(k) * hidden + j];
        sum += left * left;
      }
    }
    return sum;
  }

  /// The gradient of error + lambda |W - W_0|^2, lambda = ridge * mean diagonal of sum a a^T over `kept`, as
  /// a share of that of |W_0|'s part: 0 at the minimum, which is the only one.
  double gradient(const std::vector<std::int64_t>& kept, const Tensor& w, const Tensor& before,
                  double ridge) const {
    double diagonal = 0;
    for (const std::int64_t k : kept) {
      for (std::int64_t i = 0; i < tokens; ++i) diagonal += input(i, k) * input(i, k);
    }
    const double lambda = ridge * diagonal / static_cast<double>(kept.size());
    double most = 0;
    for (std::size_t k = 0; k < kept.size(); ++k) {
      for (std::int64_t j = 0; j < hidden; ++j) {
        const std::int64_t at = static_cast<std::int64_t>(k) * hidden + j;
        double sum = lambda * (static_cast<double>(w.floats()[at]) - before.floats()[at]);
        for (std::int64_t i = 0; i < tokens; ++i) {
          double left = -wanted(i, j);
          for (std::size_t l = 0; l < kept.size(); ++l)
            left += input(i, kept[l]) * w.floats()[static_cast<std::int64_t>(l) * hidden + j];
          sum += left * input(i, kept[k]);
        }
        most = std::max(most, std::abs(sum));
      }
    }
    return most / diagonal;
  }
};

std::vector<std::int64_t> all_columns() {
  std::vector<std::int64_t> all;
  for (std::int64_t k = 0; k < columns; ++k) all.push_back(k);
  return all;
}

OwnedTensor sum_of(const Tensor& weight, const Tensor& change) {
  OwnedTensor sum = copy_of(weight, Device::cpu, "test");
  ops::combine(ops::Context(), 1, change, 1, sum);
  return sum;
}

}  // namespace

TEST_CASE("a compensated weight is the ridge regression's", "[compensation]") {
  const ops::Context context;
  std::mt19937 random(21);
  const Problem problem(random);
  const FitSums sums = problem.sums();
  for (const double ridge : {0.03, 1.0, 10.0}) {
    const Correction found = fit(context, sums, ridge, "test");
    CHECK(found.ridge == ridge);
    const OwnedTensor weight = sum_of(problem.weight, found.change);
    CHECK(problem.gradient(all_columns(), weight, problem.weight, ridge) < 1e-6);
    CHECK(problem.gradient(all_columns(), problem.weight, problem.weight, ridge) > 1e-2);
    const double change = problem.error(all_columns(), weight) - problem.error(all_columns(), problem.weight);
    CHECK(change < 0);
    CHECK(std::abs(change_of_error(context, sums, found.change) / change - 1) < 1e-4);
  }
}

TEST_CASE("a great ridge leaves the weight as it is", "[compensation]") {
  const ops::Context context;
  std::mt19937 random(22);
  const Problem problem(random);
  const FitSums sums = problem.sums();
  const Correction little = fit(context, sums, 1e9, "test"), none = fit(context, sums, infinite, "test");
  double most = 0;
  for (const float value : little.change->float_span())
    most = std::max(most, static_cast<double>(std::abs(value)));
  CHECK(most > 0);
  CHECK(most < 1e-7);
  for (const float value : none.change->float_span()) CHECK(value == 0);
}

TEST_CASE("kept columns are refitted as by ridge regression towards what OBS left", "[compensation]") {
  const ops::Context context;
  std::mt19937 random(23);
  const Problem problem(random);
  const FitSums sums = problem.sums();
  const OwnedTensor cross = cross_of(context, sums, problem.weight);
  const std::vector<std::int64_t> kept = {0, 3, 4, 11, 17, 22, 23};
  const OwnedTensor pruned = test::random_tensor({std::ssize(kept), hidden}, random);
  for (const double ridge : {0.01, 0.3}) {
    const FitSums left = kept_sums(context, sums.gram, cross, kept, pruned);
    const OwnedTensor weight = sum_of(pruned, fit(context, left, ridge, "test").change);
    CHECK(problem.gradient(kept, weight, pruned, ridge) < 1e-6);
    CHECK(problem.error(kept, weight) < problem.error(kept, pruned));
  }
}

TEST_CASE("a ridge is chosen by what it does on held-out tokens", "[compensation]") {
  const ops::Context context;
  std::mt19937 random(24);
  // Targets that another weight explains: the smallest ridge of the grid comes closest to it.
  const OwnedTensor truth = test::random_tensor({columns, hidden}, random);
  const auto explained = [&] {
    Problem problem(random);
    for (std::int64_t i = 0; i < tokens; ++i) {
      for (std::int64_t j = 0; j < hidden; ++j) {
        double sum = problem.x->floats()[i * hidden + j];
        for (std::int64_t k = 0; k < columns; ++k)
          sum += problem.input(i, k) * truth->floats()[k * hidden + j];
        problem.t->floats()[i * hidden + j] = static_cast<float>(sum);
      }
    }
    copy_bytes(problem.weight->data, Device::cpu, truth->data, Device::cpu, truth->bytes());
    for (float& value : problem.weight->float_span()) value *= 0.5f;
    return problem;
  };
  const Problem first = explained(), second = explained();
  CHECK(choose_ridge(context, first.sums(), second.sums(), "test") == 0.03);
  CHECK(choose_refit_ridge(context, first.sums(), second.sums(), first.weight, 0.03, all_columns(), 0.01,
                           "test") == 0.03);
  // What is learnt from one part and wrong on the other is not worth any change.
  FitSums opposite = first.sums();
  ops::combine(context, -1, opposite.residual, 0, opposite.residual);
  CHECK(choose_ridge(context, first.sums(), opposite, "test") == infinite);
}

TEST_CASE("a sensitivity weighs the error", "[compensation]") {
  const ops::Context context;
  std::mt19937 random(26);
  const Problem problem(random);
  const OwnedTensor change = test::random_tensor({columns, hidden}, random);
  // G = g g^T: only the difference along g counts.
  std::vector<float> g, lower;
  for (std::int64_t j = 0; j < hidden; ++j) {
    g.push_back(static_cast<float>(j % 3) - 0.8f);
    for (const float other : g) lower.push_back(g.back() * other);
  }
  const Sensitivity sensitivity = full_sensitivity(context, lower, hidden, "test");
  const auto along = [&](const Tensor& weight) {
    double sum = 0;
    for (std::int64_t i = 0; i < tokens; ++i) {
      double part = 0;
      for (std::int64_t j = 0; j < hidden; ++j) {
        double left = -problem.wanted(i, j);
        for (std::int64_t k = 0; k < columns; ++k)
          left += problem.input(i, k) * weight.floats()[k * hidden + j];
        part += g[static_cast<std::size_t>(j)] * left;
      }
      sum += part * part;
    }
    return sum / sensitivity.scale;
  };
  const OwnedTensor changed = sum_of(problem.weight, change);
  const double plain = problem.error(all_columns(), changed) - problem.error(all_columns(), problem.weight);
  const double wanted = along(changed) - along(problem.weight) + sensitivity.ridge * plain;
  CHECK(std::abs(change_of_error(context, problem.sums(), change, &sensitivity) / wanted - 1) < 1e-4);
  CHECK(std::abs(plain / wanted - 1) > 0.01);
}

TEST_CASE("an indefinite matrix raises the ridge, and is an error where that does not help",
          "[compensation]") {
  const ops::Context context;
  std::mt19937 random(25);
  FitSums sums = Problem(random).sums();
  double diagonal = 0;
  for (std::int64_t k = 0; k < columns; ++k) diagonal += sums.gram->floats()[k * columns + k] / columns;
  sums.gram->floats()[0] = static_cast<float>(-0.5 * diagonal);
  CHECK(fit(context, sums, 0.1, "a module").ridge == 1.0);
  sums.gram->floats()[0] = NAN;
  try {
    fit(context, sums, 0.1, "a module");
    FAIL("fitted to what is not a number");
  } catch (const NumericalError& error) {
    CHECK(std::string(error.what()).find("a module") != std::string::npos);
  }
}

TEST_CASE("what --compensate takes", "[compensation]") {
  CHECK(!compensation_of("auto", "--compensate").ridge);
  CHECK(compensation_of("0.3", "--compensate").ridge == 0.3);
  CHECK(name_of(compensation_of("1e-1", "--compensate")) == "0.1");
  CHECK(name_of(compensation_of("auto", "--compensate")) == "auto");
  for (const char* bad : {"", "0", "-1", "one", "1x", "nan", "inf", "1e7"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(compensation_of(bad, "--compensate"), UsageError);
  }
}
