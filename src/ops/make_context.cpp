#include "cpu/blas.hpp"

#include <latch>
#include <omp.h>
#include <thread>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/quiet_thread.hpp>
#include <galapagos/ops/context.hpp>

#ifdef GALAPAGOS_CUDA
#include "cuda/resources.hpp"
#endif

namespace galapagos::ops {
namespace {

[[noreturn]] void refuse_cuda() {
  throw ResourceError("this build has no CUDA", "--backend cuda",
                      "build with the preset 'cuda' or use --backend cpu");
}

/// Starts OpenMP's threads, which stay. Where one cannot be started, OpenMP ends the process from within, and
/// that may hang; so whether they can is tried first. ResourceError where not.
void start_threads() {
  static int started = 1;
  const int wanted = omp_get_max_threads();
  if (wanted <= started) return;
  {
    std::latch over(1);
    std::vector<std::thread> tried;
    const auto end = [&] {
      over.count_down();
      for (std::thread& thread : tried) thread.join();
    };
    try {
      for (int i = 1; i < wanted; ++i) tried.push_back(quiet_thread([&over] { over.wait(); }));
    } catch (...) {
      end();
      throw;
    }
    end();
  }
#pragma omp parallel
  {}
  started = wanted;
}

}  // namespace

Context::Context(Device device, int threads, DType products) : device_(device), products_(products) {
  cpu::use_one_blas_thread();
  if (threads > 0) omp_set_num_threads(threads);
  start_threads();
  if (device == Device::cpu) return;
#ifdef GALAPAGOS_CUDA
  // Handles take long to make: contexts share those there are.
  static std::weak_ptr<cuda::Resources> known;
  resources_ = known.lock();
  if (!resources_) known = resources_ = std::make_shared<cuda::Resources>();
#else
  refuse_cuda();
#endif
}

Context Context::planned(Device device, DType activations) {
  Context context;
  context.device_ = device;
  context.products_ = activations;
  return context;
}

Context Context::exact() const {
  Context same = *this;
  same.products_ = DType::f32;
  return same;
}

void* Context::stream() const {
#ifdef GALAPAGOS_CUDA
  if (resources_) return resources_->stream();
#endif
  return nullptr;
}

Device device_of_backend(const std::string& backend, bool visible) {
  if (backend == "cpu") return Device::cpu;
  if (backend == "auto") return visible ? Device::cuda : Device::cpu;
  if (backend != "cuda") {
    throw UsageError("unknown backend '" + backend + "'", "--backend", "choose auto, cpu or cuda");
  }
  if (!built_with_cuda()) refuse_cuda();
  if (!visible) {
    throw ResourceError("no GPU is visible to a rank", "--backend cuda",
                        "check nvidia-smi, CUDA_VISIBLE_DEVICES and the job's request, or use --backend cpu");
  }
  return Device::cuda;
}

}  // namespace galapagos::ops
