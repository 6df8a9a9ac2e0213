// The operations of structured OBS on each backend, against the textbook form in fp64.
#include "ops/devices.hpp"
#include "support/fp64_obs.hpp"

#include <numeric>

#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/obs.hpp>

using namespace galapagos;

namespace {

struct Problem {
  Problem(std::int64_t columns, std::int64_t height, std::mt19937& random) : n(columns), rows(height) {
    const OwnedTensor inputs = test::random_tensor({2 * n + 3, n}, random);
    // Columns that have much in common, or the order would be that of the norms.
    for (std::int64_t t = 0; t < inputs->rows(); ++t) {
      for (std::int64_t j = 1; j < n; ++j)
        inputs->floats()[t * n + j] += 0.7f * inputs->floats()[t * n + j - 1];
    }
    weight = test::random_tensor({n, rows}, random);
    hessian = OwnedTensor({n, n}, DType::f32, Device::cpu, "test");
    fill_zero(hessian);
    ops::accumulate_gram(ops::Context(), inputs, 1.0f / static_cast<float>(n), hessian);
  }

  void kill(std::int64_t column) const {
    for (std::int64_t i = 0; i < n; ++i) hessian->floats()[std::max(i, column) * n + std::min(i, column)] = 0;
  }
  void clear_weight(std::int64_t column) const { std::fill_n(weight->floats() + column * rows, rows, 0.0f); }

  ops::ObsState on(Device device) const {
    ops::ObsState state;
    state.weight = test::on(device, weight);
    state.inverse = test::on(device, hessian);
    state.columns = n;
    state.rows = rows;
    return state;
  }

  test::Fp64Obs oracle(std::int64_t unit) const {
    std::vector<double> w(static_cast<std::size_t>(rows * n)), h(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < n; ++j)
        w[static_cast<std::size_t>(i * n + j)] = weight->floats()[j * rows + i];
    }
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j)
        h[static_cast<std::size_t>(i * n + j)] = hessian->floats()[std::max(i, j) * n + std::min(i, j)];
    }
    return {std::move(w), std::move(h), rows, n, unit, 0.01};
  }

  std::int64_t n, rows;
  OwnedTensor weight, hessian;
};

/// The largest difference of the weights left from the oracle's, relative to the largest weight.
double weight_error(const ops::ObsState& state, const test::Fp64Obs& oracle) {
  const std::vector<float> found = test::read(state.weight->slice(0, state.columns));
  double worst = 0, largest = 1e-12;
  std::size_t column = 0;
  for (std::int64_t j = 0; j < oracle.n; ++j) {
    if (oracle.gone[static_cast<std::size_t>(j / oracle.unit)]) continue;
    for (std::int64_t i = 0; i < oracle.d_row; ++i) {
      const double wanted = oracle.weight[static_cast<std::size_t>(i * oracle.n + j)];
      const double error = std::abs(
          wanted - found[column * static_cast<std::size_t>(oracle.d_row) + static_cast<std::size_t>(i)]);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
      largest = std::max(largest, std::abs(wanted));
    }
    ++column;
  }
  return worst / largest;
}

}  // namespace

TEST_CASE("single columns go in the order of the textbook form", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(21);
  for (const auto& [n, rows] : {std::pair{1, 3}, {2, 1}, {33, 7}, {90, 40}, {300, 20}}) {
    const Problem problem(n, rows, random);
    if (n > 30) {
      problem.kill(7);
      problem.clear_weight(n - 2);
    }
    test::Fp64Obs oracle = problem.oracle(1);
    ops::ObsState state = problem.on(device);
    CHECK(ops::obs_damp(context, state, 0.01).dead == (n > 30 ? 1 : 0));
    REQUIRE(ops::invert_spd(context, state.inverse, false));
    std::vector<std::int64_t> left(static_cast<std::size_t>(n)), order;
    std::iota(left.begin(), left.end(), 0);
    double loss = 0;
    // Levels of uneven sizes, among them one of no columns and one beyond a block.
    for (const std::int64_t target : {n / 10, n / 10, n / 5, 9 * n / 10, n}) {
      std::vector<std::int64_t> removed;
      std::vector<double> scores;
      const std::int64_t count = target - static_cast<std::int64_t>(order.size());
      REQUIRE(ops::obs_remove_columns(context, state, count, removed, scores));
      REQUIRE(static_cast<std::int64_t>(removed.size()) == count);
      for (const std::int64_t j : removed) {
        order.push_back(left[static_cast<std::size_t>(j)]);
        left[static_cast<std::size_t>(j)] = -1;
      }
      std::erase(left, -1);
      for (const double score : scores) loss += score / 2;
      while (oracle.order.size() < order.size()) oracle.remove_best();
      INFO(name_of(device) << " " << n << " columns, " << target << " removed");
      CHECK(order == oracle.order);
      CHECK(loss == Approx(oracle.loss).epsilon(1e-4).margin(1e-9));
      if (order == oracle.order) CHECK(weight_error(state, oracle) < 1e-3);
    }
  }
}

TEST_CASE("structures of several columns go in the order of the textbook form", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(22);
  for (const auto& [n, rows, unit] : {std::tuple{4, 3, 4}, {48, 10, 8}, {60, 33, 3}, {192, 16, 48}}) {
    const Problem problem(n, rows, random);
    test::Fp64Obs oracle = problem.oracle(unit);
    ops::ObsState state = problem.on(device);
    CHECK(ops::obs_damp(context, state, 0.01).dead == 0);
    REQUIRE(ops::invert_spd(context, state.inverse, true));
    std::vector<std::int64_t> left(static_cast<std::size_t>(n / unit)), order;
    std::iota(left.begin(), left.end(), 0);
    while (!left.empty()) {
      std::vector<double> scores;
      REQUIRE(ops::obs_structure_scores(context, state, unit, scores));
      REQUIRE(scores.size() == left.size());
      for (std::size_t g = 0; g < left.size(); ++g)
        CHECK(scores[g] == Approx(oracle.score(left[g])).epsilon(1e-3));
      const auto best = std::min_element(scores.begin(), scores.end()) - scores.begin();
      REQUIRE(ops::obs_remove_structure(context, state, unit, best));
      order.push_back(left[static_cast<std::size_t>(best)]);
      left.erase(left.begin() + best);
      oracle.remove_best();
      REQUIRE(order == oracle.order);
      CHECK(weight_error(state, oracle) < 1e-3);
    }
  }
}

TEST_CASE("what is not positive definite is found out", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(23);
  const Problem problem(40, 5, random);
  const auto spoilt = [&] {
    ops::ObsState state = problem.on(Device::cpu);
    state.inverse->floats()[17 * 41] = -1;
    ops::ObsState moved;
    moved.weight = test::on(device, state.weight);
    moved.inverse = test::on(device, state.inverse);
    moved.columns = state.columns;
    moved.rows = state.rows;
    return moved;
  };
  ops::ObsState state = spoilt();
  std::vector<std::int64_t> removed;
  std::vector<double> scores;
  CHECK(!ops::obs_remove_columns(context, state, 3, removed, scores));
  state = spoilt();
  CHECK(!ops::obs_structure_scores(context, state, 4, scores));
  CHECK(!ops::obs_remove_structure(context, state, 4, 4));
}
