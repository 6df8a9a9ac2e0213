#pragma once

#include "reduce.cuh"

#include <cmath>
#include <cstdint>

// What the operations over rows of logits share. A thread block goes through one row.
namespace galapagos::ops::cuda {

constexpr int row_threads = 512;

struct RowScale {
  float largest;
  double log_sum;  // of exp(value - largest)
};

__device__ inline RowScale scale_of(const float* row, std::int64_t count) {
  float largest = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) largest = fmaxf(largest, row[i]);
  largest = block_reduce(largest, Greatest{});
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x)
    sum += static_cast<double>(expf(row[i] - largest));
  return {largest, log(block_reduce(sum, Sum{}))};
}

}  // namespace galapagos::ops::cuda
