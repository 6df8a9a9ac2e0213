#pragma once

#include <cuda_runtime_api.h>

// Only for files of builds with CUDA.
namespace galapagos {

/// The stream of this process, on which memory is allocated and freed and all operations run, so that a
/// buffer may be freed while work on it is still queued.
cudaStream_t cuda_stream();

/// Throws FailureError, naming the call, where it failed.
void check_cuda(cudaError_t status, const char* call);

}  // namespace galapagos
