// The sketch of a matrix against the definition of the Nystroem approximation in fp64.
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/sketch.hpp>

using namespace galapagos;

namespace {

using Values = std::vector<double>;

/// sum of `terms` random outer products, the later the smaller, row-major [n, n].
Values random_psd(std::int64_t n, std::int64_t terms, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Values g(static_cast<std::size_t>(n * n));
  for (std::int64_t t = 0; t < terms; ++t) {
    Values x(static_cast<std::size_t>(n));
    for (double& value : x) value = normal(random) / static_cast<double>(1 + t);
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (std::size_t j = 0; j < x.size(); ++j) g[i * x.size() + j] += x[i] * x[j];
    }
  }
  return g;
}

/// G Omega and the diagonal, as they are collected.
std::vector<float> sketched(const Values& g, const Tensor& matrix) {
  const std::int64_t rank = matrix.rows(), n = matrix.columns();
  std::vector<float> values;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t r = 0; r < rank; ++r) {
      double sum = 0;
      for (std::int64_t k = 0; k < n; ++k)
        sum += g[static_cast<std::size_t>(i * n + k)] * matrix.floats()[r * n + k];
      values.push_back(static_cast<float>(sum));
    }
  }
  for (std::int64_t i = 0; i < n; ++i)
    values.push_back(static_cast<float>(g[static_cast<std::size_t>(i * (n + 1))]));
  return values;
}

/// X with A X = B, A [m, m], B [m, n], by elimination with pivots.
Values solved(Values a, Values b, std::size_t m, std::size_t n) {
  for (std::size_t step = 0; step < m; ++step) {
    std::size_t pivot = step;
    for (std::size_t row = step; row < m; ++row)
      if (std::abs(a[row * m + step]) > std::abs(a[pivot * m + step])) pivot = row;
    for (std::size_t j = 0; j < m; ++j) std::swap(a[step * m + j], a[pivot * m + j]);
    for (std::size_t j = 0; j < n; ++j) std::swap(b[step * n + j], b[pivot * n + j]);
    for (std::size_t row = 0; row < m; ++row) {
      if (row == step) continue;
      const double factor = a[row * m + step] / a[step * m + step];
      for (std::size_t j = 0; j < m; ++j) a[row * m + j] -= factor * a[step * m + j];
      for (std::size_t j = 0; j < n; ++j) b[row * n + j] -= factor * b[step * n + j];
    }
  }
  for (std::size_t row = 0; row < m; ++row) {
    for (std::size_t j = 0; j < n; ++j) b[row * n + j] /= a[row * m + row];
  }
  return b;
}

/// G Omega (Omega^T G Omega)^-1 Omega^T G with G's own diagonal, where that is greater.
Values nystroem(const Values& g, const Tensor& matrix) {
  const auto rank = static_cast<std::size_t>(matrix.rows()), n = static_cast<std::size_t>(matrix.columns());
  Values y(rank * n), core(rank * rank);  // y transposed
  for (std::size_t r = 0; r < rank; ++r) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < n; ++k)
        y[r * n + i] += static_cast<double>(matrix.floats()[r * n + k]) * g[k * n + i];
    }
  }
  for (std::size_t r = 0; r < rank; ++r) {
    for (std::size_t q = 0; q < rank; ++q) {
      for (std::size_t k = 0; k < n; ++k)
        core[r * rank + q] += static_cast<double>(matrix.floats()[q * n + k]) * y[r * n + k];
    }
  }
  const Values x = solved(core, y, rank, n);
  Values found(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t r = 0; r < rank; ++r) found[i * n + j] += y[r * n + i] * x[r * n + j];
    }
    found[i * n + i] = std::max(found[i * n + i], g[i * n + i]);
  }
  return found;
}

/// The greatest difference of the lower triangles, relative to the greatest value.
double distance(std::span<const float> lower, const Values& expected, std::int64_t n) {
  double most = 0, greatest = 0;
  auto value = lower.begin();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      const double wanted = expected[static_cast<std::size_t>(i * n + j)];
      most = std::max(most, std::abs(static_cast<double>(*value++) - wanted));
      greatest = std::max(greatest, std::abs(wanted));
    }
  }
  return most / greatest;
}

std::vector<float> finished(const Values& g, const Tensor& matrix) {
  std::vector<float> values = sketched(g, matrix);
  finish_sketch(matrix, values, "test");
  return values;
}

}  // namespace

TEST_CASE("directions of a sketch are orthonormal and depend on the seed alone", "[sketch]") {
  for (const std::int64_t rank : {1, 7, 40}) {
    const OwnedTensor matrix = sketch_matrix(3, rank, 40), again = sketch_matrix(3, rank, 40),
                      other = sketch_matrix(4, rank, 40);
    for (std::int64_t i = 0; i < rank; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < 40; ++k)
          sum += static_cast<double>(matrix->floats()[i * 40 + k]) * matrix->floats()[j * 40 + k];
        CHECK(std::abs(sum - (i == j ? 1 : 0)) < 1e-6);
      }
    }
    CHECK(std::equal(matrix->floats(), matrix->floats() + rank * 40, again->floats()));
    CHECK(!std::equal(matrix->floats(), matrix->floats() + rank * 40, other->floats()));
  }
}

TEST_CASE("a sketch gives the Nystroem approximation, and the matrix itself where it has its rank",
          "[sketch]") {
  constexpr std::int64_t n = 48;
  for (const std::int64_t terms : {1, 6, 200}) {
    const Values g = random_psd(n, terms, 11);
    for (const std::int64_t rank : {1, 6, 20, 48}) {
      const OwnedTensor matrix = sketch_matrix(5, rank, n);
      const std::vector<float> values = finished(g, matrix);
      const std::vector<float> lower = lower_of_sketch(values, rank, n);
      INFO(terms << " terms, rank " << rank);
      // Products in fp32, of directions some of which nearly miss G.
      if (rank >= std::min(terms, n)) CHECK(distance(lower, g, n) < 1e-4);
      if (rank <= terms) CHECK(distance(lower, nystroem(g, matrix), n) < 1e-4);
      CHECK(std::all_of(values.begin() + n * rank, values.end(), [](float rest) { return rest >= 0; }));
      // The diagonal is G's, and what is kept beside it never more than G.
      for (std::int64_t i = 0; i < n; ++i) {
        CHECK(lower[static_cast<std::size_t>(i * (i + 3) / 2)] ==
              Approx(g[static_cast<std::size_t>(i * (n + 1))]).epsilon(1e-4).margin(1e-6));
      }
    }
  }
}

TEST_CASE("a sketch of nothing is nothing, and one of no semidefinite matrix is refused", "[sketch]") {
  constexpr std::int64_t n = 12, rank = 4;
  const OwnedTensor matrix = sketch_matrix(1, rank, n);
  std::vector<float> none = finished(Values(n * n), matrix);
  CHECK(std::all_of(none.begin(), none.end(), [](float value) { return value == 0; }));
  Values g = random_psd(n, 20, 3);
  std::vector<float> values = sketched(g, matrix);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(finish_sketch(matrix, values, "test"), NumericalError);
  for (double& value : g) value = -value;
  values = sketched(g, matrix);
  CHECK_THROWS_AS(finish_sketch(matrix, values, "test"), NumericalError);
}
