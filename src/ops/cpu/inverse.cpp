// The inverse of a symmetric positive definite matrix by tiles: Cholesky factor, inverse of the factor,
// product with its transpose (LAPACK's potrf, trtri, lauum), on the lower triangle and in place. Tiles of a
// fixed size make the result the same for any number of threads.
#include "../backends.hpp"
#include "blas.hpp"

#include <algorithm>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

constexpr std::int64_t tile = 128;

std::int64_t tiles_of(std::int64_t n) {
  return (n + tile - 1) / tile;
}
std::int64_t extent(std::int64_t index, std::int64_t n) {
  return std::min(tile, n - index * tile);
}

template <typename T>
struct TiledMatrix {
  T* data;
  std::int64_t n;
  T* at(std::int64_t i, std::int64_t j) const { return data + i * tile * n + j * tile; }
};

template <typename T>
bool factor(TiledMatrix<T> a) {
  const std::int64_t n = a.n, count = tiles_of(n);
  for (std::int64_t k = 0; k < count; ++k) {
    if (!cholesky(extent(k, n), a.at(k, k), n)) return false;
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = k + 1; i < count; ++i) {
      solve_lower_transposed_right(extent(i, n), extent(k, n), a.at(k, k), n, a.at(i, k), n);
    }
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (std::int64_t i = k + 1; i < count; ++i) {
      for (std::int64_t j = k + 1; j < count; ++j) {
        if (j > i) continue;
        gemm(false, true, extent(i, n), extent(j, n), extent(k, n), T(-1), a.at(i, k), n, a.at(j, k), n, T(1),
             a.at(i, j), n);
      }
    }
  }
  return true;
}

// Row of tiles k of the inverse: -(L_kk)^-1 L_k,0..k-1 X_0..k-1 with the rows X above already inverted.
template <typename T>
void invert_factor(TiledMatrix<T> l) {
  const std::int64_t n = l.n, count = tiles_of(n);
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t rows = extent(k, n), left = k * tile;
    invert_lower(rows, l.at(k, k), n);
    for (std::int64_t i = 0; i < rows; ++i)
      std::fill(l.at(k, k) + i * n + i + 1, l.at(k, k) + i * n + rows, T(0));
    std::vector<T> old(static_cast<std::size_t>(rows * left));
    for (std::int64_t i = 0; i < rows; ++i) std::copy_n(l.at(k, 0) + i * n, left, old.data() + i * left);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t j = 0; j < k; ++j) {
      std::vector<T> product(static_cast<std::size_t>(rows * tile));
      gemm(false, false, rows, tile, left - j * tile, T(1), old.data() + j * tile, left, l.at(j, j), n, T(0),
           product.data(), tile);
      gemm(false, false, rows, tile, rows, T(-1), l.at(k, k), n, product.data(), tile, T(0), l.at(k, j), n);
    }
  }
}

// Row of tiles i of X^T X; it needs the rows of X from i on, which are still there when rows are done in
// order.
template <typename T>
void multiply_by_transpose(TiledMatrix<T> x) {
  const std::int64_t n = x.n, count = tiles_of(n);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t rows = extent(i, n), width = i * tile + rows, below = n - width;
    std::vector<T> old(static_cast<std::size_t>(rows * width));
    for (std::int64_t r = 0; r < rows; ++r) std::copy_n(x.at(i, 0) + r * n, width, old.data() + r * width);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t j = 0; j <= i; ++j) {
      gemm(true, false, rows, extent(j, n), rows, T(1), old.data() + i * tile, width, old.data() + j * tile,
           width, T(0), x.at(i, j), n);
      if (below > 0) {
        gemm(true, false, rows, extent(j, n), below, T(1), x.at(i + 1, i), n, x.at(i + 1, j), n, T(1),
             x.at(i, j), n);
      }
    }
  }
}

template <typename T>
bool invert(T* data, std::int64_t n) {
  const TiledMatrix<T> matrix{data, n};
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

}  // namespace galapagos::ops::cpu
