#pragma once

#include "launch.cuh"

namespace galapagos::ops::cuda {

constexpr int sum_columns = 32;

/// sums[column] += sum of value(row, column) over all rows, in an order that depends on nothing but the
/// extents: each warp takes every eighth row of 32 columns.
template <typename Value>
__global__ void add_column_sums(Value value, std::int64_t rows, std::int64_t columns, float* sums) {
  __shared__ float partial[block_threads / sum_columns][sum_columns];
  const int lane = static_cast<int>(threadIdx.x) % sum_columns;
  const int warp = static_cast<int>(threadIdx.x) / sum_columns;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * sum_columns + lane;
  float sum = 0;
  if (column < columns) {
    for (std::int64_t row = warp; row < rows; row += block_threads / sum_columns) sum += value(row, column);
  }
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  for (int other = 1; other < block_threads / sum_columns; ++other) sum += partial[other][lane];
  sums[column] += sum;
}

}  // namespace galapagos::ops::cuda
