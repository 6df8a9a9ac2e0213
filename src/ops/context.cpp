#include "cpu/blas.hpp"

#include <omp.h>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos::ops {

Context::Context(Device device, int threads) : device_(device) {
  cpu::use_one_blas_thread();
  if (threads > 0) omp_set_num_threads(threads);
}

Device device_of_backend(const std::string& backend) {
  if (backend == "auto" || backend == "cpu") return Device::cpu;
  if (backend == "cuda") {
    throw ResourceError(
        built_with_cuda() ? "this version has no CUDA operations yet" : "this build has no CUDA",
        "--backend cuda", "use --backend cpu");
  }
  throw UsageError("unknown backend '" + backend + "'", "--backend", "choose auto, cpu or cuda");
}

}  // namespace galapagos::ops
