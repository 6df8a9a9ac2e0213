#include "cpu/blas.hpp"

#include <array>
#include <cstddef>
#include <latch>
#include <memory>
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

#ifdef GALAPAGOS_OPENBLAS
/// Has the library of matrix products take the memory that it works in, a buffer for each thread. Where
/// OpenBLAS gets none it tries for ever; so whether there is any is tried first. std::bad_alloc where not.
void take_product_buffers() {
  static int taken = 0;
  const int threads = omp_get_max_threads();
  if (threads <= taken) return;
  {
    constexpr std::size_t buffer =
        (std::size_t{128} << 20) + (1 << 16);  // OpenBLAS's on x86-64, and some more
    std::vector<std::unique_ptr<std::byte[]>> tried;
    for (int i = taken; i < threads; ++i)
      tried.push_back(std::make_unique_for_overwrite<std::byte[]>(buffer));
  }
#pragma omp parallel
  {
    constexpr std::int64_t n = 8;
    std::array<float, n * n> a{}, product{};
    cpu::gemm(false, false, n, n, n, 1.0F, a.data(), n, a.data(), n, 0.0F, product.data(), n);
  }
  taken = threads;
}
#endif

}  // namespace

Context::Context(Device device, int threads, DType products) : device_(device), products_(products) {
  cpu::use_one_blas_thread();
  if (threads > 0) omp_set_num_threads(threads);
  start_threads();
#ifdef GALAPAGOS_OPENBLAS
  if (device == Device::cpu) take_product_buffers();
#endif
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
