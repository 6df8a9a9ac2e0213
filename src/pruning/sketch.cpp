#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include <galapagos/core/error.hpp>
#include <galapagos/core/random.hpp>
#include <galapagos/pruning/sketch.hpp>

namespace galapagos {
namespace {

constexpr std::uint8_t drawing_directions = 33;  // what the random numbers are for
/// Of |Y|: what rounding of its fp32 sums may have done, and from where on Y is no sketch at all.
constexpr double least_shift = std::numeric_limits<float>::epsilon(), most_shift = 1e-2;

/// Row-major.
struct Matrix {
  std::int64_t rows, columns;
  std::vector<double> values;

  Matrix(std::int64_t r, std::int64_t c)
      : rows(r), columns(c), values(static_cast<std::size_t>(r * c), 0.0) {}
  double* row(std::int64_t i) { return values.data() + i * columns; }
  const double* row(std::int64_t i) const { return values.data() + i * columns; }
};

double dot(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void subtract(double factor, const double* from, double* row, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) row[i] -= factor * from[i];
}

/// Standard normal numbers (Box and Muller).
Matrix gaussian(std::uint64_t seed, std::int64_t rows, std::int64_t columns) {
  RandomStream random(seed, {0, 0, 0, drawing_directions});
  const auto uniform = [&] { return (static_cast<double>(random.next()) + 1) * 0x1p-32; };  // in (0, 1]
  Matrix matrix(rows, columns);
  for (double& value : matrix.values) {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    value = radius * std::cos(2 * std::numbers::pi * uniform());
  }
  return matrix;
}

/// Gram and Schmidt's, twice, which is enough (Giraud, Langou, Rozloznik 2005).
void make_rows_orthonormal(Matrix& matrix) {
  const std::int64_t n = matrix.columns;
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    double* row = matrix.row(i);
    for (int time = 0; time < 2; ++time) {
      for (std::int64_t j = 0; j < i; ++j) subtract(dot(matrix.row(j), row, n), matrix.row(j), row, n);
    }
    const double norm = std::sqrt(dot(row, row, n));
    for (std::int64_t k = 0; k < n; ++k) row[k] /= norm;
  }
}

/// The lower triangle becomes its Cholesky factor; false where it is not positive definite.
bool factor(Matrix& a) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    double* row = a.row(i);
    for (std::int64_t j = 0; j < i; ++j) row[j] = (row[j] - dot(row, a.row(j), j)) / a.row(j)[j];
    const double pivot = row[i] - dot(row, row, i);
    if (!(pivot > 0)) return false;
    row[i] = std::sqrt(pivot);
  }
  return true;
}

/// F = (Y + shift Omega) L^-T, L L^T = Omega^T (Y + shift Omega); nothing where that is not positive
/// definite.
std::optional<Matrix> factor_of_shifted(const Matrix& omega, const Matrix& y, double shift) {
  const std::int64_t n = omega.columns, rank = omega.rows;  // both transposed: [rank, n]
  Matrix shifted = y;
  for (std::size_t i = 0; i < shifted.values.size(); ++i) shifted.values[i] += shift * omega.values[i];
  Matrix core(rank, rank);
  for (std::int64_t i = 0; i < rank; ++i) {
    for (std::int64_t j = 0; j <= i; ++j)
      core.row(i)[j] = (dot(omega.row(i), shifted.row(j), n) + dot(omega.row(j), shifted.row(i), n)) / 2;
  }
  if (!factor(core)) return std::nullopt;
  for (std::int64_t i = 0; i < rank; ++i) {
    double* row = shifted.row(i);
    for (std::int64_t j = 0; j < i; ++j) subtract(core.row(i)[j], shifted.row(j), row, n);
    for (std::int64_t k = 0; k < n; ++k) row[k] /= core.row(i)[i];
  }
  return shifted;
}

/// Turns rows by rotations until all are orthogonal to each other (one-sided Jacobi; Hestenes 1958), which
/// leaves sums over rows of their outer products as they are.
void make_rows_orthogonal(Matrix& matrix) {
  constexpr int most_sweeps = 60;
  constexpr double tolerance = 1e-13;
  const std::int64_t n = matrix.columns;
  bool turned = true;
  for (int sweep = 0; turned && sweep < most_sweeps; ++sweep) {
    turned = false;
    for (std::int64_t i = 1; i < matrix.rows; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        double *a = matrix.row(j), *b = matrix.row(i);
        const double aa = dot(a, a, n), bb = dot(b, b, n), ab = dot(a, b, n);
        if (std::abs(ab) <= tolerance * std::sqrt(aa * bb)) continue;
        turned = true;
        const double zeta = (bb - aa) / (2 * ab);
        const double tangent = std::copysign(1 / (std::abs(zeta) + std::sqrt(1 + zeta * zeta)), zeta);
        const double cosine = 1 / std::sqrt(1 + tangent * tangent), sine = cosine * tangent;
        for (std::int64_t k = 0; k < n; ++k) {
          const double before = a[k];
          a[k] = cosine * before - sine * b[k];
          b[k] = sine * before + cosine * b[k];
        }
      }
    }
  }
}

[[noreturn]] void refuse(const std::string& what, const std::string& name) {
  throw NumericalError("the sketch of the sensitivity is " + what, name,
                       "check the checkpoint, or use --precision fp32 or --form diagonal");
}

}  // namespace

OwnedTensor sketch_matrix(std::uint64_t seed, std::int64_t rank, std::int64_t n) {
  Matrix rows = gaussian(seed, rank, n);
  make_rows_orthonormal(rows);
  OwnedTensor matrix({rank, n}, DType::f32, Device::cpu, "the directions of a sketch");
  std::transform(rows.values.begin(), rows.values.end(), matrix->floats(),
                 [](double value) { return static_cast<float>(value); });
  return matrix;
}

void finish_sketch(const Tensor& matrix, std::span<float> values, const std::string& name) {
  const std::int64_t rank = matrix.rows(), n = matrix.columns();
  Matrix omega(rank, n), y(rank, n);
  double norm = 0;
  for (std::int64_t i = 0; i < rank; ++i) {
    for (std::int64_t k = 0; k < n; ++k) {
      omega.row(i)[k] = matrix.floats()[i * n + k];
      y.row(i)[k] = values[static_cast<std::size_t>(k * rank + i)];
      norm += y.row(i)[k] * y.row(i)[k];
    }
  }
  norm = std::sqrt(norm);
  if (!std::isfinite(norm)) refuse("not finite", name);
  if (norm == 0) return;  // F = 0, and the diagonal is what remains
  for (double shift = least_shift * norm; shift <= most_shift * norm; shift *= 10) {
    std::optional<Matrix> found = factor_of_shifted(omega, y, shift);
    if (!found) continue;
    make_rows_orthogonal(*found);
    for (std::int64_t i = 0; i < rank; ++i) {
      double* row = found->row(i);
      const double eigenvalue = dot(row, row, n);  // of the approximation, still shifted
      const double left = eigenvalue > shift ? std::sqrt(1 - shift / eigenvalue) : 0.0;
      for (std::int64_t k = 0; k < n; ++k) {
        row[k] *= left;
        values[static_cast<std::size_t>(k * rank + i)] = static_cast<float>(row[k]);
      }
    }
    for (std::int64_t k = 0; k < n; ++k) {
      double explained = 0;
      for (std::int64_t i = 0; i < rank; ++i) explained += found->row(i)[k] * found->row(i)[k];
      float& remainder = values[static_cast<std::size_t>(n * rank + k)];
      remainder = static_cast<float>(std::max(static_cast<double>(remainder) - explained, 0.0));
    }
    return;
  }
  refuse("not positive semidefinite", name);
}

std::vector<float> lower_of_sketch(std::span<const float> values, std::int64_t rank, std::int64_t n) {
  std::vector<float> lower;
  lower.reserve(static_cast<std::size_t>(n * (n + 1) / 2));
  for (std::int64_t i = 0; i < n; ++i) {
    const float* row = values.data() + i * rank;
    for (std::int64_t j = 0; j <= i; ++j) {
      const float* other = values.data() + j * rank;
      double sum = i == j ? values[static_cast<std::size_t>(n * rank + i)] : 0.0;
      for (std::int64_t k = 0; k < rank; ++k) sum += static_cast<double>(row[k]) * other[k];
      lower.push_back(static_cast<float>(sum));
    }
  }
  return lower;
}

}  // namespace galapagos
