#include "../backends.hpp"
#include "inverse.hpp"
#include "launch.cuh"

namespace galapagos::ops::cuda {
namespace {

template <typename From, typename To>
__global__ void copy_lower(const From* from, To* to, std::int64_t n) {
  for (std::int64_t i = global_thread(); i < n * n; i += global_threads()) {
    if (i % n <= i / n) to[i] = static_cast<To>(from[i]);
  }
}

__global__ void look_for_infinity(const float* h, std::int64_t n, int* found) {
  bool bad = false;
  for (std::int64_t i = global_thread(); i < n * n; i += global_threads())
    bad |= i % n <= i / n && !isfinite(h[i]);
  if (bad) *found = 1;
}

template <typename T>
bool invert(Resources& gpu, T* h, std::int64_t n) {
  return factor_lower(gpu, h, n) && invert_factor(gpu, h, n, inverse_way);
}

bool finite_lower(Resources& gpu, const Tensor& h) {
  const OwnedTensor found({1}, DType::f32, Device::cuda, "a flag");
  fill_zero(found);
  auto* flag = reinterpret_cast<int*>(found->data);
  launch(gpu, look_for_infinity, blocks_for(h.elements(), 8 * block_threads), block_threads, 0, h.floats(),
         h.rows(), flag);
  return gpu.download(flag) == 0;
}

}  // namespace

bool invert_spd(const Context& context, const Tensor& h, bool wide) {
  Resources& gpu = context.cuda();
  const std::int64_t n = h.rows();
  if (n == 0) return true;
  if (!wide) return invert(gpu, h.floats(), n) && finite_lower(gpu, h);
  const Array<double> copy(n * n, "a Hessian in fp64");
  launch(gpu, copy_lower<float, double>, blocks_for(n * n), block_threads, 0, h.floats(), copy.data(), n);
  if (!invert(gpu, copy.data(), n)) return false;
  launch(gpu, copy_lower<double, float>, blocks_for(n * n), block_threads, 0, copy.data(), h.floats(), n);
  return finite_lower(gpu, h);
}

bool factor_spd(const Context& context, const Tensor& a) {
  Resources& gpu = context.cuda();
  const std::int64_t n = a.rows();
  if (n == 0) return true;
  const Array<double> copy(n * n, "a matrix in fp64");
  launch(gpu, copy_lower<float, double>, blocks_for(n * n), block_threads, 0, a.floats(), copy.data(), n);
  if (!factor_lower(gpu, copy.data(), n)) return false;
  fill_zero(a);
  launch(gpu, copy_lower<double, float>, blocks_for(n * n), block_threads, 0, copy.data(), a.floats(), n);
  return true;
}

}  // namespace galapagos::ops::cuda
