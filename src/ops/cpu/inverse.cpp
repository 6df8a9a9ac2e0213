// The inverse of a symmetric positive definite matrix: Cholesky factor, inverse of the factor, product with
// its transpose (LAPACK's potrf, trtri, lauum), on the lower triangle and in place. Each halves the matrix as
// the factorisation does.
#include "../backends.hpp"
#include "blas.hpp"
#include "cholesky.hpp"

#include <algorithm>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

/// B <- -B X, B [rows, n]: panels of columns from the left, each of which needs those to its right only.
template <typename T>
void multiply_right(const Square<T>& x, T* b, std::int64_t rows) {
  for_strips(rows, [&](std::int64_t row, std::int64_t count) {
    T* strip = b + row * x.stride;
    for (std::int64_t j = 0; j < x.n; j += cholesky_leaf) {
      const std::int64_t width = std::min(cholesky_leaf, x.n - j), next = j + width;
      multiply_lower_right(count, width, T(-1), x.at(j, j), x.stride, strip + j, x.stride);
      gemm(false, false, count, width, x.n - next, T(-1), strip + next, x.stride, x.at(next, j), x.stride,
           T(1), strip + j, x.stride);
    }
  });
}

/// B <- X B, B [n, columns]: panels of rows from the bottom, each of which needs those above it only.
template <typename T>
void multiply_left(const Square<T>& x, T* b, std::int64_t columns) {
  for_strips(columns, [&](std::int64_t column, std::int64_t count) {
    T* strip = b + column;
    for (std::int64_t end = x.n; end > 0; end -= std::min(cholesky_leaf, end)) {
      const std::int64_t height = std::min(cholesky_leaf, end), i = end - height;
      multiply_lower_left(false, height, count, x.at(i, i), x.stride, strip + i * x.stride, x.stride);
      gemm(false, false, height, count, i, T(1), x.at(i, 0), x.stride, strip, x.stride, T(1),
           strip + i * x.stride, x.stride);
    }
  });
}

/// B <- X^T B, B [n, columns]: panels of rows from the top, each of which needs those below it only.
template <typename T>
void multiply_left_transposed(const Square<T>& x, T* b, std::int64_t columns) {
  for_strips(columns, [&](std::int64_t column, std::int64_t count) {
    T* strip = b + column;
    for (std::int64_t i = 0; i < x.n; i += cholesky_leaf) {
      const std::int64_t height = std::min(cholesky_leaf, x.n - i), next = i + height;
      multiply_lower_left(true, height, count, x.at(i, i), x.stride, strip + i * x.stride, x.stride);
      gemm(true, false, height, count, x.n - next, T(1), x.at(next, i), x.stride, strip + next * x.stride,
           x.stride, T(1), strip + i * x.stride, x.stride);
    }
  });
}

/// X = L^-1.
template <typename T>
void invert_factor(const Square<T>& l) {
  if (l.n <= cholesky_leaf) {
    invert_lower(l.n, l.data, l.stride);
    return;
  }
  invert_factor(l.upper());
  invert_factor(l.lower());
  multiply_right(l.upper(), l.corner(), l.n - l.half());
  multiply_left(l.lower(), l.corner(), l.half());
}

/// X^T X.
template <typename T>
void multiply_by_transpose(const Square<T>& x) {
  if (x.n <= cholesky_leaf) {
    multiply_transpose_by_lower(x.n, x.data, x.stride);
    return;
  }
  const Square<T> upper = x.upper(), lower = x.lower();
  multiply_by_transpose(upper);
  parallel_syrk_lower(true, upper.n, lower.n, T(1), x.corner(), x.stride, upper.data, x.stride);
  multiply_left_transposed(lower, x.corner(), upper.n);
  multiply_by_transpose(lower);
}

template <typename T>
bool invert(T* data, std::int64_t n) {
  const Square<T> matrix{data, n, n};
  if (!factor(matrix)) return false;
  invert_factor(matrix);
  multiply_by_transpose(matrix);
  return true;
}

// x * 0 is NaN where x is NaN or infinite.
bool finite_lower(const float* h, std::int64_t n) {
  float sum = 0;
#pragma omp parallel for schedule(static, 64) reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    float row = 0;
#pragma omp simd reduction(+ : row)
    for (std::int64_t j = 0; j <= i; ++j) row += h[i * n + j] * 0.0f;
    sum += row;
  }
  return sum == 0;
}

}  // namespace

bool invert_spd(const Context&, const Tensor& h, bool wide) {
  const std::int64_t n = h.rows();
  if (!wide) return invert(h.floats(), n) && finite_lower(h.floats(), n);
  std::vector<double> copy(h.float_span().begin(), h.float_span().end());
  if (!invert(copy.data(), n)) return false;
  std::copy(copy.begin(), copy.end(), h.floats());
  return finite_lower(h.floats(), n);
}

bool factor_spd(const Context&, const Tensor& a) {
  const std::int64_t n = a.rows();
  std::vector<double> copy(a.float_span().begin(), a.float_span().end());
  if (!factor(Square<double>{copy.data(), n, n})) return false;
#pragma omp parallel for schedule(static, 64)
  for (std::int64_t i = 0; i < n; ++i) {
    std::copy_n(copy.data() + i * n, i + 1, a.floats() + i * n);
    std::fill_n(a.floats() + i * n + i + 1, n - i - 1, 0.0f);
  }
  return true;
}

}  // namespace galapagos::ops::cpu
