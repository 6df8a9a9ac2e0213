#pragma once

#include "launch.cuh"
#include "obs_state.hpp"

namespace galapagos::ops::cuda {

/// out[i] = matrix[i, j] of a symmetric matrix [n, n] whose lower triangle is kept.
__device__ inline float symmetric_at(const float* matrix, std::int64_t n, std::int64_t i, std::int64_t j) {
  return i >= j ? matrix[i * n + j] : matrix[j * n + i];
}

}  // namespace galapagos::ops::cuda
