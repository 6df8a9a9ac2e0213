#pragma once

#include <cuda_runtime.h>

// Reductions within a thread block, always in the same order, so that they give the same bits every time.
namespace galapagos::ops::cuda {

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Least {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct Greatest {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

constexpr unsigned all_lanes = 0xffffffffu;

template <typename T, typename Combine>
__device__ T warp_reduce(T value, Combine combine) {
  for (int offset = 16; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(all_lanes, value, offset));
  return value;
}

/// The reduction of all threads' values, for all threads. Blocks are whole warps, in one dimension.
template <typename T, typename Combine>
__device__ T block_reduce(T value, Combine combine) {
  __shared__ T partial[32];
  value = warp_reduce(value, combine);
  __syncthreads();  // the reduction before has been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T total = partial[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) total = combine(total, partial[warp]);
  return total;
}

}  // namespace galapagos::ops::cuda
