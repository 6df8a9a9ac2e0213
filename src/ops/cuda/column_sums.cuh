#pragma once

#include "launch.cuh"
#include "tuning.hpp"

namespace galapagos::ops::cuda {

/// sums[column] += sum of value(row, column) over all rows, in an order that depends on nothing but the
/// extents: each warp takes every 32nd row of 32 columns.
template <typename Value>
__global__ void __launch_bounds__(sum_threads)
    add_column_sums(Value value, std::int64_t rows, std::int64_t columns, float* sums) {
  __shared__ float partial[sum_threads / sum_columns][sum_columns];
  const int lane = static_cast<int>(threadIdx.x) % sum_columns;
  const int warp = static_cast<int>(threadIdx.x) / sum_columns;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * sum_columns + lane;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t row = warp; row < rows; row += sum_threads / sum_columns) sum += value(row, column);
  }
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  for (int other = 1; other < sum_threads / sum_columns; ++other) sum += partial[other][lane];
  sums[column] += sum;
}

}  // namespace galapagos::ops::cuda
