#include "resources.hpp"

#include "attention_way.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cstring>

#include <galapagos/core/error.hpp>

namespace galapagos::ops::cuda {

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
    workspace_ = Buffer(blas_workspace_bytes, Device::cuda, "the workspace of cuBLAS");
    check_blas(cublasSetWorkspace(blas_, workspace_.data(), blas_workspace_bytes), "cublasSetWorkspace");
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
  for (const Slot& slot : slots_) {
    if (slot.free != nullptr) cudaEventDestroy(slot.free);
    if (slot.memory != nullptr) cudaFreeHost(slot.memory);
  }
}

void Resources::copy_up(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  if (bytes > pinned_bytes) return copy_through_slots(to, from, bytes);
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
  if (bytes == 0) return;
  wait_for_cuda_stream();  // then nothing waits for its turn in the pinned memory
  pinned_used_ = 0;
  for (std::size_t done = 0; done < bytes; done += pinned_bytes) {
    const std::size_t count = std::min(pinned_bytes, bytes - done);
    copy_in_cuda_stream(pinned_, static_cast<const std::byte*>(from) + done, count);
    std::memcpy(static_cast<std::byte*>(to) + done, pinned_, count);
  }
}

void Resources::copy_from_host(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, from), "cudaPointerGetAttributes");
  if (attributes.type != cudaMemoryTypeHost) return copy_through_slots(to, from, bytes);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
}

void Resources::copy_through_slots(void* to, const void* from, std::size_t bytes) {
  constexpr std::size_t piece = std::size_t{1} << 20;
  for (std::size_t done = 0; done < bytes; done += slot_bytes) {
    Slot& slot = slots_[next_slot_];
    next_slot_ = (next_slot_ + 1) % slots_.size();
    if (slot.free == nullptr) {
      void* memory = nullptr;
      check_cuda(cudaMallocHost(&memory, slot_bytes), "cudaMallocHost");
      slot.memory = static_cast<std::byte*>(memory);
      check_cuda(cudaEventCreateWithFlags(&slot.free, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    } else {
      wait_for_cuda_event(slot.free);
    }
    const std::size_t count = std::min(slot_bytes, bytes - done);
    const std::byte* source = static_cast<const std::byte*>(from) + done;
    // One thread copies more slowly than the GPU fetches.
#pragma omp parallel for schedule(static)
    for (std::size_t at = 0; at < count; at += piece)
      std::memcpy(slot.memory + at, source + at, std::min(piece, count - at));
    check_cuda(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, slot.memory, count, cudaMemcpyHostToDevice,
                               stream_),
               "cudaMemcpyAsync");
    check_cuda(cudaEventRecord(slot.free, stream_), "cudaEventRecord");
  }
}

}  // namespace galapagos::ops::cuda
