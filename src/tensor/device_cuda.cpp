#include "device.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {
namespace {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw FailureError(std::string(call) + " failed: " + cudaGetErrorString(status), "CUDA",
                     "check the GPU and its driver (nvidia-smi)");
}

}  // namespace

namespace device {

std::byte* cuda_allocate(std::size_t bytes, const std::string& purpose) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    std::size_t free = 0;
    std::size_t total = 0;
    cudaMemGetInfo(&free, &total);
    throw ResourceError(fmt::format("no GPU memory for {} of {}, {} are free", human_bytes(bytes), purpose,
                                    human_bytes(free)),
                        "GPU memory", "use more ranks or lower --memory-limit");
  }
  check(status, "cudaMalloc");
  return static_cast<std::byte*>(data);
}

void cuda_free(std::byte* data) noexcept {
  cudaFree(data);
}

void cuda_copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}

void cuda_zero(std::byte* data, std::size_t bytes) {
  check(cudaMemset(data, 0, bytes), "cudaMemset");
}

}  // namespace device

bool built_with_cuda() {
  return true;
}

std::string cuda_version() {
  return fmt::format("{}.{}", CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100);
}

}  // namespace galapagos
