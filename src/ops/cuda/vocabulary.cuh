#pragma once

#include "reduce.cuh"
#include "tuning.hpp"

#include <cmath>
#include <cstdint>

// What the operations over rows of logits share. A thread block goes through one row.
namespace galapagos::ops::cuda {

struct RowScale {
  float largest;
  double log_sum;  // of exp(value - largest)
};

/// A thread's values number first + j * blockDim.x of a row, -infinity where it has no such.
struct Values {
  float of[logits_ahead];

  __device__ Values(const float* row, std::int64_t first, std::int64_t count) {
#pragma unroll
    for (int j = 0; j < logits_ahead; ++j) {
      const std::int64_t i = first + static_cast<std::int64_t>(j) * blockDim.x;
      of[j] = i < count ? row[i] : -INFINITY;
    }
  }
};

/// The scale of values that come a few at a time, so that a row is read once (Milakov and Gimelshein 2018).
struct RunningScale {
  float largest = -INFINITY;
  double sum = 0;  // of exp(value - largest)

  __device__ void add(const Values& values) {
    float greatest = values.of[0];
#pragma unroll
    for (int j = 1; j < logits_ahead; ++j) greatest = fmaxf(greatest, values.of[j]);
    if (greatest > largest) {
      sum *= exp(static_cast<double>(largest) - static_cast<double>(greatest));
      largest = greatest;
    }
    const float shift = largest == -INFINITY ? 0.0f : largest;
#pragma unroll
    for (int j = 0; j < logits_ahead; ++j) sum += static_cast<double>(expf(values.of[j] - shift));
  }

  /// Of all threads of the block.
  __device__ RowScale of_block() const {
    const float all = block_reduce(largest, Greatest{});
    const double own = sum == 0 ? 0 : sum * exp(static_cast<double>(largest) - static_cast<double>(all));
    return {all, log(block_reduce(own, Sum{}))};
  }
};

__device__ inline RowScale scale_of(const float* row, std::int64_t count) {
  RunningScale scale;
  const std::int64_t step = static_cast<std::int64_t>(logits_ahead) * blockDim.x;
  for (std::int64_t i = threadIdx.x; i < count; i += step) scale.add(Values(row, i, count));
  return scale.of_block();
}

}  // namespace galapagos::ops::cuda
