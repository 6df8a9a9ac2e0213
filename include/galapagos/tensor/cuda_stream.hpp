#pragma once

#include <cstddef>
#include <cuda_runtime_api.h>

// Only for files of builds with CUDA.
namespace galapagos {

/// The stream of this process, on which memory is allocated and freed and all operations run, so that a
/// buffer may be freed while work on it is still queued.
cudaStream_t cuda_stream();

/// The host waits for all that the stream has been given. Throws where NCCL fails meanwhile.
void wait_for_cuda_stream();
/// The same for what the stream had been given when the event was recorded.
void wait_for_cuda_event(cudaEvent_t event);
/// Copies between the host and the GPU in the order of the stream, and waits likewise.
void copy_in_cuda_stream(void* to, const void* from, std::size_t bytes);

/// Throws FailureError, naming the call, where it failed.
void check_cuda(cudaError_t status, const char* call);

}  // namespace galapagos
