#pragma once

#include "cuda_check.hpp"

#include <memory>
#include <type_traits>

namespace galapagos {

/// An event without a time, for streams and the host to wait for.
class CudaEvent {
 public:
  CudaEvent() {
    cudaEvent_t made = nullptr;
    GALAPAGOS_CUDA_CALL(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    event_.reset(made);
  }
  cudaEvent_t get() const { return event_.get(); }

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, Destroy> event_;
};

/// A stream beside the one on which all else is computed; where both have work, its own goes first.
class SideStream {
 public:
  explicit SideStream(void* main) : main_(static_cast<cudaStream_t>(main)) {
    int least = 0, greatest = 0;
    GALAPAGOS_CUDA_CALL(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    cudaStream_t made = nullptr;
    GALAPAGOS_CUDA_CALL(cudaStreamCreateWithPriority(&made, cudaStreamNonBlocking, greatest));
    stream_.reset(made);
  }
  cudaStream_t get() const { return stream_.get(); }

  /// What comes here from now on waits for what the main stream has been given so far.
  void follow_main() { order(main_, get(), main_so_far_); }
  /// What the main stream is given from now on waits for what came here so far.
  void lead_main() { order(get(), main_, side_so_far_); }

 private:
  static void order(cudaStream_t first, cudaStream_t then, const CudaEvent& event) {
    GALAPAGOS_CUDA_CALL(cudaEventRecord(event.get(), first));
    GALAPAGOS_CUDA_CALL(cudaStreamWaitEvent(then, event.get(), 0));
  }

  struct Destroy {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  };
  cudaStream_t main_;
  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, Destroy> stream_;
  CudaEvent main_so_far_, side_so_far_;
};

}  // namespace galapagos
