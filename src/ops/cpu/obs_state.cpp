#include "obs_state.hpp"

#include "../backends.hpp"
#include "blas.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

namespace galapagos::ops {
namespace cpu {
namespace {

// The columns that stay, as runs of neighbours.
struct Run {
  std::int64_t from;
  std::int64_t count;
};

std::vector<Run> runs_kept(std::int64_t n, std::span<const std::int64_t> dropped) {
  std::vector<Run> runs;
  std::int64_t from = 0;
  for (const std::int64_t position : dropped) {
    if (position > from) runs.push_back({from, position - from});
    from = position + 1;
  }
  if (from < n) runs.push_back({from, n - from});
  return runs;
}

void drop_rows(const OwnedTensor& matrix, std::int64_t width, const std::vector<Run>& runs) {
  float* to = matrix->floats();
  for (const Run& run : runs) {
    std::memmove(to, matrix->floats() + run.from * width,
                 static_cast<std::size_t>(run.count * width) * sizeof(float));
    to += run.count * width;
  }
}

// The lower triangle [n, n] moves to [kept, kept] in the same memory. Every element moves towards the front,
// so going forward never overwrites what is still to be read.
void drop_rows_and_columns(const OwnedTensor& matrix, std::int64_t n, std::int64_t kept,
                           const std::vector<Run>& runs) {
  std::int64_t to_row = 0;
  for (const Run& rows : runs) {
    for (std::int64_t row = rows.from; row < rows.from + rows.count; ++row, ++to_row) {
      float* to = matrix->floats() + to_row * kept;
      const float* from = matrix->floats() + row * n;
      for (const Run& columns : runs) {
        if (columns.from > row) break;
        const std::int64_t count = std::min(columns.count, row - columns.from + 1);
        std::memmove(to, from + columns.from, static_cast<std::size_t>(count) * sizeof(float));
        to += count;
      }
    }
  }
}

}  // namespace

void drop_columns(ObsState& state, std::span<const std::int64_t> positions) {
  const std::vector<Run> runs = runs_kept(state.columns, positions);
  const std::int64_t kept = state.columns - static_cast<std::int64_t>(positions.size());
#pragma omp parallel sections
  {
#pragma omp section
    drop_rows(state.weight, state.rows, runs);
#pragma omp section
    if (state.followed()) drop_rows(state.follower, state.rows, runs);
#pragma omp section
    drop_rows_and_columns(state.inverse, state.columns, kept, runs);
  }
  state.columns = kept;
}

double square_sum(const float* values, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

void copy_symmetric_row(const float* matrix, std::int64_t n, std::int64_t j, std::int64_t first,
                        std::int64_t last, float* row) {
  const std::int64_t middle = std::clamp(j + 1, first, last);
  std::copy(matrix + j * n + first, matrix + j * n + middle, row);
  const float* below = matrix + middle * n + j;
  for (std::int64_t i = middle; i < last; ++i, below += n) row[i - first] = *below;
}

double obs_change(const Context&, const Tensor& start, std::span<const std::int64_t> kept,
                  const Tensor& weight) {
  const std::int64_t n = start.rows(), rows = start.columns();
  std::vector<std::int64_t> position(static_cast<std::size_t>(n), -1);
  for (std::size_t k = 0; k < kept.size(); ++k) {
    position[static_cast<std::size_t>(kept[k])] = static_cast<std::int64_t>(k);
  }
  std::vector<double> sums(static_cast<std::size_t>(n));
#pragma omp parallel for schedule(static)
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int64_t k = position[static_cast<std::size_t>(j)];
    const float* before = start.floats() + j * rows;
    double sum = 0;
    if (k < 0) {
      sum = square_sum(before, rows);
    } else {
      const float* after = weight.floats() + k * rows;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < rows; ++i) {
        const double change = static_cast<double>(after[i]) - before[i];
        sum += change * change;
      }
    }
    sums[static_cast<std::size_t>(j)] = sum;
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace cpu
}  // namespace galapagos::ops
