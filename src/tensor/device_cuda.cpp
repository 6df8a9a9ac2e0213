#include "device.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>
#include <limits>
#include <thread>

#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/tensor/cuda_stream.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {
namespace {

/// The device's own pool of memory. What is freed stays in it: asking the driver takes far longer than the
/// work on small buffers.
cudaMemPool_t memory_pool() {
  static const cudaMemPool_t pool = [] {
    int current = 0;
    cudaMemPool_t made = nullptr;
    check_cuda(cudaGetDevice(&current), "cudaGetDevice");
    check_cuda(cudaDeviceGetDefaultMemPool(&made, current), "cudaDeviceGetDefaultMemPool");
    std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
    check_cuda(cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &keep),
               "cudaMemPoolSetAttribute");
    return made;
  }();
  return pool;
}

const char* remedy_for(const std::string& purpose) {
  const auto mentions = [&](const char* word) { return purpose.find(word) != std::string::npos; };
  if (mentions("activation") || mentions("hidden") || mentions("logits") || mentions("gradient")) {
    return "lower --batch-tokens, or use more GPUs";
  }
  if (mentions("Hessian")) return "lower --memory-limit for more and smaller passes, or use more GPUs";
  return "use more GPUs, --precision bf16, or lower --batch-tokens or --memory-limit";
}

/// A sum whose other ranks are gone never ends, and NCCL tells only those who ask.
template <typename Query>
void ask_until_done(const char* call, const Query& query) {
  const Stopwatch watch;
  for (cudaError_t status = cudaErrorNotReady; status == cudaErrorNotReady;) {
    status = query();
    if (status == cudaErrorNotReady) {
      cudaGetLastError();  // or the next launch would find it
      check_nccl_while_waiting(std::chrono::duration<double>(watch.seconds()));
      std::this_thread::yield();
    } else {
      check_cuda(status, call);
    }
  }
}

}  // namespace

void check_cuda(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw FailureError(std::string(call) + " failed: " + cudaGetErrorString(status), "CUDA",
                     "check the GPU and its driver (nvidia-smi)");
}

cudaStream_t cuda_stream() {
  static const cudaStream_t stream = [] {
    cudaStream_t made = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return made;
  }();
  return stream;
}

void wait_for_cuda_stream() {
  if (!nccl_in_use()) return check_cuda(cudaStreamSynchronize(cuda_stream()), "cudaStreamSynchronize");
  ask_until_done("cudaStreamQuery", [] { return cudaStreamQuery(cuda_stream()); });
}

void wait_for_cuda_event(cudaEvent_t event) {
  if (!nccl_in_use()) return check_cuda(cudaEventSynchronize(event), "cudaEventSynchronize");
  ask_until_done("cudaEventQuery", [&] { return cudaEventQuery(event); });
}

void copy_in_cuda_stream(void* to, const void* from, std::size_t bytes) {
  // With pageable memory the call itself blocks, and would not look after NCCL.
  if (nccl_in_use()) wait_for_cuda_stream();
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, cuda_stream()), "cudaMemcpyAsync");
  wait_for_cuda_stream();
}

namespace device {

namespace {

/// What `allocate` gives, tried again after the pool has given back what it keeps; ResourceError otherwise.
template <typename Allocate>
std::byte* allocated(std::size_t bytes, const std::string& purpose, const char* call,
                     const Allocate& allocate) {
  void* data = nullptr;
  cudaError_t status = allocate(&data);
  if (status == cudaErrorMemoryAllocation) {
    // What the pool keeps may be in pieces that are too small.
    cudaGetLastError();
    wait_for_cuda_stream();
    cudaMemPoolTrimTo(memory_pool(), 0);
    status = allocate(&data);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0;
    std::size_t total = 0;
    cudaMemGetInfo(&free, &total);
    throw ResourceError(fmt::format("no GPU memory for {} of {}, {} of {} are free", human_bytes(bytes),
                                    purpose, human_bytes(free), human_bytes(total)),
                        "GPU memory", remedy_for(purpose));
  }
  check_cuda(status, call);
  return static_cast<std::byte*>(data);
}

}  // namespace

std::byte* cuda_allocate(std::size_t bytes, const std::string& purpose) {
  return allocated(bytes, purpose, "cudaMallocFromPoolAsync", [&](void** data) {
    return cudaMallocFromPoolAsync(data, bytes, memory_pool(), cuda_stream());
  });
}

std::byte* cuda_allocate_unpooled(std::size_t bytes, const std::string& purpose) {
  return allocated(bytes, purpose, "cudaMalloc", [&](void** data) { return cudaMalloc(data, bytes); });
}

void cuda_free_unpooled(std::byte* data) noexcept {
  cudaFree(data);
}

void cuda_free(std::byte* data) noexcept {
  if (data != nullptr) cudaFreeAsync(data, cuda_stream());
}

void cuda_copy(std::byte* to, Device to_device, const std::byte* from, Device from_device,
               std::size_t bytes) {
  if (to_device != Device::cuda || from_device != Device::cuda) return copy_in_cuda_stream(to, from, bytes);
  // Within the GPU, all that comes later comes later in the stream, too.
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, cuda_stream()), "cudaMemcpyAsync");
}

void cuda_zero(std::byte* data, std::size_t bytes) {
  check_cuda(cudaMemsetAsync(data, 0, bytes, cuda_stream()), "cudaMemsetAsync");
}

void cuda_synchronise() {
  wait_for_cuda_stream();
}

std::byte* cuda_allocate_pinned(std::size_t bytes) {
  void* data = nullptr;
  if (cudaMallocHost(&data, bytes) == cudaSuccess) return static_cast<std::byte*>(data);
  cudaGetLastError();
  return nullptr;
}

void cuda_free_pinned(std::byte* data) noexcept {
  cudaFreeHost(data);
}

bool cuda_lock_pages(std::byte* data, std::size_t bytes) {
  if (cudaHostRegister(data, bytes, cudaHostRegisterPortable) == cudaSuccess) return true;
  cudaGetLastError();  // or the next launch would find it
  return false;
}

void cuda_unlock_pages(std::byte* data) noexcept {
  cudaStreamSynchronize(cuda_stream());
  cudaHostUnregister(data);
}

}  // namespace device

bool built_with_cuda() {
  return true;
}

std::string cuda_version() {
  return fmt::format("{}.{}", CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100);
}

}  // namespace galapagos
