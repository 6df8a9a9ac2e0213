#pragma once

#include "launch.cuh"

// Programmatic dependent launch, for chains of small kernels: the next one is set up while the one before it
// still runs.
namespace galapagos::ops::cuda {

/// The first thing that a kernel for launch_early() does: lets the next one come, and returns when all that
/// was queued before this one is done and visible.
__device__ inline void await_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}

/// Whether a kernel has those instructions. Code for an earlier GPU that is translated on a later one has
/// not, and has to wait for its turn.
template <typename... Parameters>
bool launches_early(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)),
             "cudaFuncGetAttributes");
  return attributes.ptxVersion >= 90;
}

/// launch() of a kernel that begins with await_earlier_kernels(); `early`: launches_early() of it.
template <typename... Parameters, typename... Arguments>
void launch_early(const Resources& gpu, bool early, void (*kernel)(Parameters...), dim3 blocks, int threads,
                  const Arguments&... arguments) {
  if (blocks.x == 0) return;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = gpu.stream();
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "a kernel launch");
}

}  // namespace galapagos::ops::cuda
