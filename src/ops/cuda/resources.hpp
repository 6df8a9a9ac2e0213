#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>
#include <span>
#include <string>
#include <type_traits>

#include <galapagos/ops/context.hpp>
#include <galapagos/tensor/cuda_stream.hpp>

namespace galapagos::ops::cuda {

/// Throw FailureError, naming the call, where it failed.
void check_blas(cublasStatus_t status, const char* call);
void check_solver(cusolverStatus_t status, const char* call);

/// `size` values on the GPU, uninitialised.
template <typename T>
class Array {
 public:
  Array(std::int64_t size, const std::string& purpose)
      : buffer_(static_cast<std::size_t>(size) * sizeof(T), Device::cuda, purpose), size_(size) {}

  T* data() const { return reinterpret_cast<T*>(buffer_.data()); }
  std::int64_t size() const { return size_; }

 private:
  Buffer buffer_;
  std::int64_t size_;
};

/// The handles of a GPU's libraries, bound to the stream of the process, their workspace, and pinned memory
/// through which arrays travel.
class Resources {
 public:
  Resources();
  ~Resources();
  Resources(const Resources&) = delete;
  Resources& operator=(const Resources&) = delete;

  cudaStream_t stream() const { return stream_; }
  cublasHandle_t blas() const { return blas_; }
  cusolverDnHandle_t solver() const { return solver_; }
  /// Bytes of shared memory that one thread block may have.
  std::size_t shared_limit() const { return shared_limit_; }

  /// The values on the GPU, in the order of the stream; they may be changed at once.
  template <typename T>
  Array<T> upload(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    Array<T> array(static_cast<std::int64_t>(values.size()), "arguments of an operation");
    copy_up(array.data(), values.data(), values.size_bytes());
    return array;
  }

  /// Copies to the GPU, in the order of the stream. Page-locked memory must stay as it is until the stream
  /// has got so far; any other may be changed at once.
  void copy_from_host(void* to, const void* from, std::size_t bytes);

  /// Copies to the host; waits for all work.
  template <typename T>
  void download(const T* from, std::span<T> values) {
    copy_down(values.data(), from, values.size_bytes());
  }
  template <typename T>
  T download(const T* from) {
    T value;
    copy_down(&value, from, sizeof(T));
    return value;
  }

 private:
  /// Pinned memory that large copies pass through, and what tells that the last of them is done.
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t free = nullptr;
  };

  void copy_through_slots(void* to, const void* from, std::size_t bytes);
  void copy_up(void* to, const void* from, std::size_t bytes);
  void copy_down(void* to, const void* from, std::size_t bytes);
  void release() noexcept;

  cudaStream_t stream_;
  cublasHandle_t blas_ = nullptr;
  cusolverDnHandle_t solver_ = nullptr;
  Buffer workspace_;
  std::byte* pinned_ = nullptr;
  std::size_t pinned_used_ = 0;
  std::array<Slot, 2> slots_;
  std::size_t next_slot_ = 0;
  std::size_t shared_limit_ = 0;
};

}  // namespace galapagos::ops::cuda
