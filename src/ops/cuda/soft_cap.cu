#include "../backends.hpp"
#include "launch.cuh"

namespace galapagos::ops::cuda {
namespace {

__global__ void cap_values(float* x, float cap, std::int64_t count) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) x[i] = cap * tanhf(x[i] / cap);
}

__global__ void cap_gradient(const float* capped, float cap, float* d, std::int64_t count) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) {
    const float y = capped[i] / cap;
    d[i] *= 1.0f - y * y;
  }
}

}  // namespace

void soft_cap(const Context& context, const Tensor& x, float cap) {
  if (x.empty()) return;
  launch(context.cuda(), cap_values, blocks_for(x.elements()), block_threads, 0, x.floats(), cap,
         x.elements());
}

void soft_cap_backward(const Context& context, const Tensor& capped, float cap, const Tensor& d) {
  if (d.empty()) return;
  launch(context.cuda(), cap_gradient, blocks_for(d.elements()), block_threads, 0, capped.floats(), cap,
         d.floats(), d.elements());
}

}  // namespace galapagos::ops::cuda
