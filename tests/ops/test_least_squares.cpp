#include "ops/devices.hpp"

#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>

using namespace galapagos;

namespace {

/// The lower triangle of a positive definite matrix; NaN above it, which nothing may read.
OwnedTensor positive_definite(std::int64_t n, std::mt19937& random) {
  const OwnedTensor x = test::random_tensor({2 * n, n}, random);
  OwnedTensor h({n, n}, DType::f32, Device::cpu, "test");
  fill_zero(h);
  ops::accumulate_gram(ops::Context(), x, 1.0f / static_cast<float>(n), h);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = i + 1; j < n; ++j) h->floats()[i * n + j] = NAN;
  }
  return h;
}

double at(const std::vector<float>& h, std::int64_t n, std::int64_t i, std::int64_t j) {
  return static_cast<double>(h[static_cast<std::size_t>(std::max(i, j) * n + std::min(i, j))]);
}

double mean_diagonal(const std::vector<float>& h, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += at(h, n, i, i);
  return sum / static_cast<double>(n);
}

/// (h + added I)^-1 rhs in fp64, by elimination.
std::vector<float> solved(const std::vector<float>& h, std::int64_t n, double added,
                          const std::vector<float>& rhs) {
  const auto d = static_cast<std::int64_t>(rhs.size()) / n;
  std::vector<double> a(static_cast<std::size_t>(n * n)), b(rhs.begin(), rhs.end());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j)
      a[static_cast<std::size_t>(i * n + j)] = at(h, n, i, j) + (i == j ? added : 0);
  }
  const auto eliminate = [&](std::int64_t pivot, std::int64_t row) {
    const double factor =
        a[static_cast<std::size_t>(row * n + pivot)] / a[static_cast<std::size_t>(pivot * n + pivot)];
    for (std::int64_t j = pivot; j < n; ++j)
      a[static_cast<std::size_t>(row * n + j)] -= factor * a[static_cast<std::size_t>(pivot * n + j)];
    for (std::int64_t j = 0; j < d; ++j)
      b[static_cast<std::size_t>(row * d + j)] -= factor * b[static_cast<std::size_t>(pivot * d + j)];
  };
  for (std::int64_t pivot = 0; pivot < n; ++pivot) {
    for (std::int64_t row = 0; row < n; ++row) {
      if (row != pivot) eliminate(pivot, row);
    }
  }
  std::vector<float> x(rhs.size());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j) {
      const auto k = static_cast<std::size_t>(i * d + j);
      x[k] = static_cast<float>(b[k] / a[static_cast<std::size_t>(i * n + i)]);
    }
  }
  return x;
}

}  // namespace

TEST_CASE("normal equations with a ridge, within one tile and over many", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(14);
  for (const std::int64_t n : {1, 2, 63, 129, 300}) {
    for (const std::int64_t d : {1, 7, 200}) {
      for (const double ridge : {0.01, 1.0, 10.0}) {
        const OwnedTensor h = positive_definite(n, random), rhs = test::random_tensor({n, d}, random);
        const std::vector<float> before = test::values_of(h);
        const OwnedTensor there = test::on(device, h), x = test::on(device, rhs);
        CHECK(ops::solve_spd(context, there, ridge, x));
        const auto wanted = solved(before, n, ridge * mean_diagonal(before, n), test::values_of(rhs));
        CHECK(test::relative_error(test::read(x), wanted) < 1e-4);
      }
    }
  }
}

TEST_CASE("normal equations that have no solution are found out", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(15);
  const OwnedTensor rhs = test::random_tensor({300, 3}, random);
  for (const std::int64_t bad : {0, 299}) {
    const OwnedTensor h = positive_definite(300, random);
    h->floats()[bad * 301] = -50;
    CHECK(!ops::solve_spd(context, test::on(device, h), 1e-3, test::on(device, rhs)));
    CHECK(ops::solve_spd(context, test::on(device, h), 100, test::on(device, rhs)));
  }
  // Without any input there is nothing to learn: the ridge is taken as it is.
  const OwnedTensor none = test::zeros_on(device, {300, 300}), x = test::on(device, rhs);
  CHECK(ops::solve_spd(context, none, 2, x));
  CHECK(test::read(x)[5] == rhs->floats()[5] / 2);
}

TEST_CASE("products with, and parts of, a symmetric matrix", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(16);
  for (const std::int64_t n : {1, 70, 333}) {
    const std::int64_t d = 150;
    const OwnedTensor h = positive_definite(n, random), x = test::random_tensor({n, d}, random);
    const std::vector<float> symmetric = test::values_of(h);
    std::vector<float> wanted;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < d; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < n; ++k)
          sum += at(symmetric, n, i, k) * static_cast<double>(x->floats()[k * d + j]);
        wanted.push_back(static_cast<float>(sum));
      }
    }
    const OwnedTensor y = test::poisoned_on(device, {n, d});
    ops::symmetric_product(context, test::on(device, h), test::on(device, x), y);
    CHECK(test::relative_error(test::read(y), wanted) < 1e-5);

    std::vector<std::int64_t> some;
    for (std::int64_t i = 0; i < n; ++i) {
      if (random() % 3 != 0 || i + 1 == n) some.push_back(i);
    }
    const auto k = static_cast<std::int64_t>(some.size());
    const OwnedTensor part = test::poisoned_on(device, {k, k});
    ops::principal_submatrix(context, test::on(device, h), some, part);
    const std::vector<float> found = test::read(part);
    std::size_t different = 0;
    for (std::size_t i = 0; i < some.size(); ++i) {
      for (std::size_t j = 0; j <= i; ++j)
        different +=
            found[i * some.size() + j] == static_cast<float>(at(symmetric, n, some[i], some[j])) ? 0 : 1;
    }
    CHECK(different == 0);
  }
}

TEST_CASE("weighed sums and inner products", "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(17);
  const OwnedTensor a = test::random_tensor({700, 301}, random), b = test::random_tensor({700, 301}, random);
  const OwnedTensor x = test::on(device, a), y = test::on(device, b);
  ops::combine(context, 2.0f, x, -0.5f, y);
  std::vector<float> wanted;
  double sum = 0;
  for (std::int64_t i = 0; i < a->elements(); ++i) {
    wanted.push_back(2 * a->floats()[i] - b->floats()[i] / 2);
    sum += static_cast<double>(a->floats()[i]) * b->floats()[i];
  }
  CHECK(test::relative_error(test::read(y), wanted) < 1e-6);
  CHECK(std::abs(ops::inner_product(context, x, test::on(device, b)) - sum) <
        1e-9 * static_cast<double>(wanted.size()));
  const OwnedTensor fresh = test::poisoned_on(device, {700, 301});
  ops::combine(context, 1.0f, x, 0.0f, fresh);
  CHECK(test::read(fresh) == test::values_of(a));
  ops::combine(context, 3.0f, x, 0.0f, x);
  CHECK(test::read(x)[1] == 3 * a->floats()[1]);
}
