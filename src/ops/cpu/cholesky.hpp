#pragma once

#include "blas.hpp"
#include "tuning.hpp"

#include <algorithm>

// The Cholesky factor of a symmetric positive definite matrix on its lower triangle and in place. The matrix
// is halved until a half is a leaf, so that nearly all work is products of large tiles; where it is halved
// depends on n alone, and so the result is the same for any number of threads.
namespace galapagos::ops::cpu {

/// The square block of a row-major matrix that begins at `data`.
template <typename T>
struct Square {
  T* data;
  std::int64_t n;
  std::int64_t stride;

  T* at(std::int64_t i, std::int64_t j) const { return data + i * stride + j; }
  /// Extent of the upper left quarter; leaves stay whole.
  std::int64_t half() const { return (n / 2 + cholesky_leaf - 1) / cholesky_leaf * cholesky_leaf; }
  Square upper() const { return {data, half(), stride}; }
  Square lower() const { return {at(half(), half()), n - half(), stride}; }
  T* corner() const { return at(half(), 0); }
};

/// Calls work(first, count) for every tile of an extent, in parallel.
template <typename Work>
void for_strips(std::int64_t extent, const Work& work) {
  const std::int64_t tile = tile_of(extent);
#pragma omp parallel for schedule(dynamic) if (extent > tile)
  for (std::int64_t first = 0; first < extent; first += tile) work(first, std::min(tile, extent - first));
}

/// B <- B L^-T, B [rows, n].
template <typename T>
void solve_right(const Square<T>& l, T* b, std::int64_t rows) {
  if (l.n <= cholesky_leaf) {
    for_strips(rows, [&](std::int64_t row, std::int64_t count) {
      solve_lower_transposed_right(count, l.n, l.data, l.stride, b + row * l.stride, l.stride);
    });
    return;
  }
  const std::int64_t left = l.half(), right = l.n - left;
  solve_right(l.upper(), b, rows);
  parallel_gemm(false, true, rows, right, left, T(-1), b, l.stride, l.corner(), l.stride, T(1), b + left,
                l.stride);
  solve_right(l.lower(), b + left, rows);
}

/// L with A = L L^T in place of A; false where A is not positive definite.
template <typename T>
bool factor(const Square<T>& a) {
  if (a.n <= cholesky_leaf) return cholesky(a.n, a.data, a.stride);
  if (!factor(a.upper())) return false;
  const Square<T> rest = a.lower();
  solve_right(a.upper(), a.corner(), rest.n);
  parallel_syrk_lower(false, rest.n, a.half(), T(-1), a.corner(), a.stride, rest.data, a.stride);
  return factor(rest);
}

}  // namespace galapagos::ops::cpu
