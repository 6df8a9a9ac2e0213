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

  test::Fp64Obs oracle(std::int64_t unit) const { return oracle(unit, weight); }
  test::Fp64Obs oracle(std::int64_t unit, const Tensor& of) const {
    std::vector<double> w(static_cast<std::size_t>(rows * n)), h(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < n; ++j) w[static_cast<std::size_t>(i * n + j)] = of.floats()[j * rows + i];
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
double weight_error(const Tensor& weight, const test::Fp64Obs& oracle) {
  const std::vector<float> found = test::read(weight);
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
double weight_error(const ops::ObsState& state, const test::Fp64Obs& oracle) {
  return weight_error(state.weight->slice(0, state.columns), oracle);
}

/// Removes from the oracle what the program has chosen.
void remove_named(test::Fp64Obs& oracle, std::int64_t structure) {
  std::vector<bool> allowed(oracle.gone.size(), false);
  allowed[static_cast<std::size_t>(structure)] = true;
  oracle.remove_best(allowed);
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
      std::vector<double> follower_scores;
      REQUIRE(ops::obs_remove_columns(context, state, count, removed, scores, follower_scores));
      REQUIRE(static_cast<std::int64_t>(removed.size()) == count);
      REQUIRE(follower_scores.empty());
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

TEST_CASE("single columns go in the same order with the same bits every time", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(27);
  const Problem problem(900, 24, random);
  std::vector<std::int64_t> first_order;
  std::vector<double> first_scores;
  std::vector<float> first_weight;
  for (int run = 0; run < 3; ++run) {
    ops::ObsState state = problem.on(device);
    ops::obs_damp(context, state, 0.01);
    REQUIRE(ops::invert_spd(context, state.inverse, false));
    std::vector<std::int64_t> order;
    std::vector<double> scores, follower_scores;
    REQUIRE(ops::obs_remove_columns(context, state, 800, order, scores, follower_scores));
    const std::vector<float> weight = test::read(state.weight->slice(0, state.columns));
    if (run == 0) {
      first_order = order;
      first_scores = scores;
      first_weight = weight;
    }
    CHECK(order == first_order);
    CHECK(scores == first_scores);
    CHECK(weight == first_weight);
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
      std::vector<double> follower_scores;
      REQUIRE(ops::obs_remove_structure(context, state, unit, best, follower_scores));
      REQUIRE(follower_scores.empty());
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
  CHECK(!ops::obs_remove_columns(context, state, 3, removed, scores, scores));
  state = spoilt();
  CHECK(!ops::obs_structure_scores(context, state, 4, scores));
  CHECK(!ops::obs_remove_structure(context, state, 4, 4, scores));
}

TEST_CASE("a follower loses the columns that the weight decides, each with its own update", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(24);
  for (const auto& [n, rows, unit] :
       {std::tuple{2, 3, 1}, {90, 40, 1}, {300, 20, 1}, {8, 5, 4}, {60, 33, 3}, {192, 16, 48}}) {
    const Problem problem(n, rows, random);
    const OwnedTensor follower = test::random_tensor({n, rows}, random);
    // A column of the weight that is zero is one like any other: it is the follower's that count.
    problem.clear_weight(n - 1);
    if (n == 300) {
      problem.kill(7);
      std::fill_n(follower->floats() + 11 * rows, rows, 0.0f);
    }
    ops::ObsState state = problem.on(device);
    state.follower = test::on(device, follower);
    const ops::ObsDamping damping = ops::obs_damp(context, state, 0.01);
    CHECK(damping.dead == (n == 300 ? 1 : 0));
    const OwnedTensor start = test::on(device, state.follower);
    test::Fp64Obs followed = problem.oracle(unit, follower);
    CHECK(followed.damped[0] - problem.hessian->floats()[0] == Approx(damping.added));
    REQUIRE(ops::invert_spd(context, state.inverse, false));
    // The weight's oracle, damped as the follower says.
    test::Fp64Obs decisive = problem.oracle(unit);
    decisive.damped = followed.damped;
    decisive.inverse = followed.inverse;

    std::vector<std::int64_t> left(static_cast<std::size_t>(n / unit));
    std::iota(left.begin(), left.end(), 0);
    double loss = 0;
    for (const std::int64_t target : {n / unit / 3, n / unit / 3 * 2, n / unit - 1}) {
      std::vector<std::int64_t> removed;
      std::vector<double> scores, follower_scores;
      const std::int64_t count = target - (n / unit - static_cast<std::int64_t>(left.size()));
      if (unit == 1) {
        REQUIRE(ops::obs_remove_columns(context, state, count, removed, scores, follower_scores));
      } else {
        std::vector<std::int64_t> positions = left;
        for (std::int64_t i = 0; i < count; ++i) {
          REQUIRE(ops::obs_structure_scores(context, state, unit, scores));
          const auto best = std::min_element(scores.begin(), scores.end()) - scores.begin();
          REQUIRE(ops::obs_remove_structure(context, state, unit, best, follower_scores));
          removed.push_back(std::find(left.begin(), left.end(), positions[static_cast<std::size_t>(best)]) -
                            left.begin());
          positions.erase(positions.begin() + best);
        }
      }
      REQUIRE(static_cast<std::int64_t>(follower_scores.size()) == count);
      for (std::size_t i = 0; i < removed.size(); ++i) {
        auto& name = left[static_cast<std::size_t>(removed[i])];
        decisive.remove_best();
        REQUIRE(decisive.order.back() == name);
        remove_named(followed, name);
        loss += follower_scores[i] / 2;
        CHECK(loss == Approx(followed.loss).epsilon(1e-4).margin(1e-9));
        name = -1;
      }
      std::erase(left, -1);
      INFO(name_of(device) << " " << n << " columns in " << unit << "s, " << target << " removed");
      CHECK(weight_error(state, decisive) < 1e-3);
      const Tensor weight = state.follower->slice(0, state.columns);
      CHECK(weight_error(weight, followed) < 1e-3);

      std::vector<std::int64_t> kept;
      for (const std::int64_t structure : left) {
        for (std::int64_t i = 0; i < unit; ++i) kept.push_back(structure * unit + i);
      }
      double change = 0;
      for (std::size_t i = 0; i < followed.weight.size(); ++i)
        change += std::pow(followed.weight[i] - followed.initial[i], 2);
      CHECK(ops::obs_change(context, start, kept, weight) == Approx(change).epsilon(1e-4));
    }
  }
}

TEST_CASE("the Cholesky factor gives the matrix again", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(25);
  for (const std::int64_t n : {1, 7, 130, 300}) {
    const Problem problem(n, 1, random);
    for (std::int64_t j = 0; j < n; ++j) problem.hessian->floats()[j * (n + 1)] += 0.1f;
    const OwnedTensor moved = test::on(device, problem.hessian);
    REQUIRE(ops::factor_spd(context, moved));
    const std::vector<float> factor = test::read(moved);
    double worst = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        if (j > i) REQUIRE(factor[static_cast<std::size_t>(i * n + j)] == 0);
        if (j > i) continue;
        double product = 0;
        for (std::int64_t k = 0; k <= j; ++k) {
          product += static_cast<double>(factor[static_cast<std::size_t>(i * n + k)]) *
                     factor[static_cast<std::size_t>(j * n + k)];
        }
        worst = std::max(worst, std::abs(product - problem.hessian->floats()[i * n + j]));
      }
    }
    CHECK(worst < 1e-5 * std::abs(problem.hessian->floats()[0]) + 1e-5);
    problem.hessian->floats()[n * n - 1] = -1;
    CHECK(!ops::factor_spd(context, test::on(device, problem.hessian)));
  }
}

TEST_CASE("a Hessian of zeros is damped by the least mean: columns go in the order of their norms", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(29);
  for (const auto& [n, rows] : {std::pair{1, 3}, {40, 7}, {150, 20}}) {
    Problem problem(n, rows, random);
    fill_zero(problem.hessian);
    const double least_mean = 0.3, damping = 0.01;
    ops::ObsState state = problem.on(device);
    const ops::ObsDamping damped = ops::obs_damp(context, state, damping, least_mean);
    CHECK(damped.dead == 0);
    CHECK(damped.added == Approx(damping * least_mean));
    CHECK(test::read(state.weight) == test::read(problem.weight));
    const std::vector<float> h = test::read(state.inverse);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j <= i; ++j)
        CHECK(static_cast<double>(h[static_cast<std::size_t>(i * n + j)]) ==
              Approx(i == j ? damping * least_mean : 0));
    }
    REQUIRE(ops::invert_spd(context, state.inverse, false));

    std::vector<double> norms(static_cast<std::size_t>(n), 0.0);
    for (std::int64_t j = 0; j < n; ++j) {
      for (const float value : problem.weight->slice(j, 1).float_span())
        norms[static_cast<std::size_t>(j)] += static_cast<double>(value) * static_cast<double>(value);
    }
    std::vector<std::int64_t> by_norm(static_cast<std::size_t>(n));
    std::iota(by_norm.begin(), by_norm.end(), 0);
    std::ranges::sort(by_norm, {}, [&](std::int64_t j) { return norms[static_cast<std::size_t>(j)]; });
    const std::int64_t count = 2 * n / 3;
    by_norm.resize(static_cast<std::size_t>(count));
    std::vector<std::int64_t> removed;
    std::vector<double> scores, follower_scores;
    REQUIRE(ops::obs_remove_columns(context, state, count, removed, scores, follower_scores));
    CHECK(removed == by_norm);
    for (std::size_t i = 0; i < removed.size(); ++i)
      CHECK(scores[i] ==
            Approx(damping * least_mean * norms[static_cast<std::size_t>(removed[i])]).epsilon(1e-4));
    std::vector<float> left;
    for (std::int64_t j = 0; j < n; ++j) {
      if (std::ranges::find(removed, j) != removed.end()) continue;
      const auto row = problem.weight->slice(j, 1).float_span();
      left.insert(left.end(), row.begin(), row.end());
    }
    CHECK(test::read(state.weight->slice(0, state.columns)) == left);
  }
}

TEST_CASE("the least mean damps where it is above the Hessian's own, and no column is dead with it",
          "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(30);
  const Problem problem(33, 5, random);
  problem.kill(7);
  double trace = 0;
  for (std::int64_t j = 0; j < 33; ++j) trace += static_cast<double>(problem.hessian->floats()[j * 34]);
  const auto damped = [&](double least_mean) {
    ops::ObsState state = problem.on(device);
    const ops::ObsDamping damping = ops::obs_damp(context, state, 0.01, least_mean);
    CHECK(damping.dead == (least_mean > 0 ? 0 : 1));
    const std::vector<float> h = test::read(state.inverse), w = test::read(state.weight);
    CHECK(static_cast<double>(h[9 * 34]) ==
          Approx(static_cast<double>(problem.hessian->floats()[9 * 34]) + damping.added));
    CHECK(static_cast<double>(h[7 * 34]) == Approx(least_mean > 0 ? damping.added : 1));
    CHECK((w[7 * 5] != 0) == (least_mean > 0));
    return damping.added;
  };
  CHECK(damped(0) == Approx(0.01 * (trace + 1) / 33));
  CHECK(damped(0.1 * trace / 33) == Approx(0.01 * trace / 33));
  CHECK(damped(3 * trace / 33) == Approx(0.03 * trace / 33));
}
