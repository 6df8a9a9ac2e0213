#pragma once

#include "resources.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cuda_runtime.h>

namespace galapagos::ops::cuda {

/// Queues a kernel on `blocks` thread blocks of `threads` threads with `shared` bytes of dynamic shared
/// memory; nothing where there are no blocks.
template <typename... Parameters, typename... Arguments>
void launch(const Resources& gpu, void (*kernel)(Parameters...), dim3 blocks, int threads, std::size_t shared,
            const Arguments&... arguments) {
  if (blocks.x == 0 || blocks.y == 0) return;
  if (shared > std::size_t{48} << 10) {
    check_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
        "cudaFuncSetAttribute");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = gpu.stream();
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "a kernel launch");
}

/// Thread blocks for `count` elements, one thread each; kernels go on in strides where that is too many.
inline dim3 blocks_for(std::int64_t count, std::int64_t per_block = block_threads) {
  constexpr std::int64_t most = std::int64_t{1} << 30;
  return dim3(static_cast<unsigned>(std::min((count + per_block - 1) / per_block, most)));
}

/// The index of a thread over the whole grid, and their number.
__device__ inline std::int64_t global_thread() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t global_threads() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace galapagos::ops::cuda
