#include "../backends.hpp"
#include "blas.hpp"
#include "obs_state.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

// Cholesky factor of M_GG for the structure of `size` columns from `first` on; empty where it is not positive
// definite.
std::vector<float> factor_of(const ObsState& state, std::int64_t size, std::int64_t first) {
  std::vector<float> factor(static_cast<std::size_t>(size * size));
  for (std::int64_t i = 0; i < size; ++i) {
    std::copy_n(state.inverse->floats() + (first + i) * state.columns + first, i + 1,
                factor.data() + i * size);
  }
  if (!cholesky(size, factor.data(), size)) factor.clear();
  return factor;
}

// L^-1 W_G^T [size, rows].
std::vector<float> divided(const Tensor& weight, std::int64_t size, std::int64_t first,
                           const std::vector<float>& factor) {
  const std::int64_t rows = weight.columns();
  std::vector<float> y(weight.floats() + first * rows, weight.floats() + (first + size) * rows);
  for_tiles(1, rows, [&](std::int64_t, std::int64_t, std::int64_t column, std::int64_t count) {
    solve_lower_left(size, count, factor.data(), size, y.data() + column, rows);
  });
  return y;
}

}  // namespace

bool obs_structure_scores(const Context&, const ObsState& state, std::int64_t size,
                          std::vector<double>& scores) {
  const std::int64_t structures = state.columns / size, rows = state.rows;
  scores.assign(static_cast<std::size_t>(structures), 0.0);
  std::atomic<bool> positive = true;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t g = 0; g < structures; ++g) {
    const std::vector<float> factor = factor_of(state, size, g * size);
    if (factor.empty()) {
      positive = false;
      continue;
    }
    // trace(W_G (L L^T)^-1 W_G^T) = |L^-1 W_G^T|^2
    const float* weight = state.weight->floats() + g * size * rows;
    std::vector<float> solved(weight, weight + size * rows);
    solve_lower_left(size, rows, factor.data(), size, solved.data(), rows);
    const double sum = square_sum(solved.data(), size * rows);
    if (!std::isfinite(sum)) positive = false;
    scores[static_cast<std::size_t>(g)] = sum;
  }
  return positive;
}

bool obs_remove_structure(const Context&, ObsState& state, std::int64_t size, std::int64_t structure,
                          std::vector<double>& follower_scores) {
  const std::int64_t first = structure * size, rows = state.rows;
  const std::vector<float> factor = factor_of(state, size, first);
  if (factor.empty()) return false;

  // y = L^-1 W_G^T [size, rows] and z = L^-1 M_G: [size, columns left]; then W -= z^T y and M -= z^T z.
  const std::vector<float> y = divided(state.weight, size, first, factor);
  std::vector<float> follower_y;
  if (state.followed()) {
    follower_y = divided(state.follower, size, first, factor);
    follower_scores.push_back(square_sum(follower_y.data(), size * rows));
  }
  const std::int64_t left = state.columns - size;
  std::vector<float> z(static_cast<std::size_t>(size * left));
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < size; ++i) {
    float* row = z.data() + i * left;
    copy_symmetric_row(state.inverse->floats(), state.columns, first + i, 0, first, row);
    copy_symmetric_row(state.inverse->floats(), state.columns, first + i, first + size, state.columns,
                       row + first);
  }
  std::vector<std::int64_t> dropped(static_cast<std::size_t>(size));
  std::iota(dropped.begin(), dropped.end(), first);
  drop_columns(state, dropped);
  for_tiles(1, left, [&](std::int64_t, std::int64_t, std::int64_t column, std::int64_t count) {
    solve_lower_left(size, count, factor.data(), size, z.data() + column, left);
  });
  parallel_gemm(true, false, left, rows, size, -1.0f, z.data(), left, y.data(), rows, 1.0f,
                state.weight->floats(), rows);
  if (state.followed()) {
    parallel_gemm(true, false, left, rows, size, -1.0f, z.data(), left, follower_y.data(), rows, 1.0f,
                  state.follower->floats(), rows);
  }
  parallel_syrk_lower(true, left, size, -1.0f, z.data(), left, state.inverse->floats(), left);
  return true;
}

}  // namespace galapagos::ops::cpu
