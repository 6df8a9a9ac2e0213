#pragma once

#include <cuda_runtime_api.h>
#include <string>

#include <galapagos/core/error.hpp>

namespace galapagos {

/// Turns the status of a CUDA call into a FailureError with CUDA's own words.
inline void cuda_check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw FailureError(std::string(call) + " failed: " + cudaGetErrorString(status), "CUDA",
                     "check the GPU and its driver (nvidia-smi)");
}

}  // namespace galapagos

#define GALAPAGOS_CUDA_CALL(call) ::galapagos::cuda_check(call, #call)
