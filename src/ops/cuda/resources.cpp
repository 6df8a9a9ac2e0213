#include "resources.hpp"

#include "attention_cudnn.hpp"

#include <cstring>

#include <galapagos/core/error.hpp>

namespace galapagos::ops::cuda {
namespace {

constexpr std::size_t pinned_bytes = std::size_t{1} << 20;
constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  // what cuBLAS recommends for Hopper

}  // namespace

void check_blas(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw FailureError(std::string(call) + " failed: " + cublasGetStatusString(status), "cuBLAS",
                     "check the GPU and its driver (nvidia-smi)");
}

void check_solver(cusolverStatus_t status, const char* call) {
  if (status == CUSOLVER_STATUS_SUCCESS) return;
  throw FailureError(std::string(call) + " failed with status " + std::to_string(static_cast<int>(status)),
                     "cuSOLVER", "check the GPU and its driver (nvidia-smi)");
}

Resources::Resources() : stream_(cuda_stream()) {
  try {
    attention_way();  // a word in the environment that is none is told at once
    int device = 0, limit = 0, major = 0, minor = 0;
    check_cuda(cudaGetDevice(&device), "cudaGetDevice");
    check_cuda(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
               "cudaDeviceGetAttribute");
    shared_limit_ = static_cast<std::size_t>(limit);
    check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
               "cudaDeviceGetAttribute");
    check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
               "cudaDeviceGetAttribute");
    compute_capability_ = 10 * major + minor;
    check_blas(cublasCreate(&blas_), "cublasCreate");
    check_blas(cublasSetStream(blas_, stream_), "cublasSetStream");
    // A workspace of its own keeps cuBLAS from choosing its way by what memory there is.
    workspace_ = Buffer(workspace_bytes, Device::cuda, "the workspace of cuBLAS");
    check_blas(cublasSetWorkspace(blas_, workspace_.data(), workspace_bytes), "cublasSetWorkspace");
    check_blas(cublasSetMathMode(blas_, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");
    check_solver(cusolverDnCreate(&solver_), "cusolverDnCreate");
    check_solver(cusolverDnSetStream(solver_, stream_), "cusolverDnSetStream");
    void* pinned = nullptr;
    check_cuda(cudaMallocHost(&pinned, pinned_bytes), "cudaMallocHost");
    pinned_ = static_cast<std::byte*>(pinned);
  } catch (...) {
    release();
    throw;
  }
}

Resources::~Resources() {
  release();
}

void Resources::release() noexcept {
  if (solver_ != nullptr) cusolverDnDestroy(solver_);
  if (blas_ != nullptr) cublasDestroy(blas_);
  if (pinned_ != nullptr) cudaFreeHost(pinned_);
}

void Resources::copy_up(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  if (bytes > pinned_bytes) return copy_in_cuda_stream(to, from, bytes);
  if (pinned_used_ + bytes > pinned_bytes) {
    // Copies from it may still be waiting for their turn.
    wait_for_cuda_stream();
    pinned_used_ = 0;
  }
  std::memcpy(pinned_ + pinned_used_, from, bytes);
  check_cuda(cudaMemcpyAsync(to, pinned_ + pinned_used_, bytes, cudaMemcpyHostToDevice, stream_),
             "cudaMemcpyAsync");
  pinned_used_ += (bytes + 15) / 16 * 16;
}

void Resources::copy_down(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) copy_in_cuda_stream(to, from, bytes);
}

}  // namespace galapagos::ops::cuda
