#include "../backends.hpp"
#include "inverse.hpp"
#include "launch.cuh"
#include "products.hpp"
#include "reduce.cuh"
#include "tuning.hpp"

namespace galapagos::ops::cuda {
namespace {

__global__ void sum_diagonal(const float* h, std::int64_t n, double* trace) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += h[i * n + i];
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) *trace = sum;
}

__global__ void add_to_diagonal(float* h, std::int64_t n, double added) {
  for (std::int64_t i = global_thread(); i < n; i += global_threads())
    h[i * n + i] = static_cast<float>(h[i * n + i] + added);
}

__global__ void take_submatrix(const float* h, std::int64_t n, const std::int64_t* indices, std::int64_t k,
                               float* out) {
  for (std::int64_t at = global_thread(); at < k * k; at += global_threads()) {
    const std::int64_t i = at / k, j = at % k;
    if (j <= i) out[at] = h[indices[i] * n + indices[j]];
  }
}

__global__ void weigh(float alpha, const float* x, float beta, float* y, std::int64_t count) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    y[i] = beta == 0 ? alpha * x[i] : alpha * x[i] + beta * y[i];
}

__global__ void partial_products(const float* x, const float* y, std::int64_t count, double* sums) {
  double sum = 0;
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    sum += static_cast<double>(x[i]) * y[i];
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void total(const double* sums, double* result) {
  const double sum = block_reduce(sums[threadIdx.x], Sum{});
  if (threadIdx.x == 0) *result = sum;
}

}  // namespace

bool solve_spd(const Context& context, const Tensor& h, double ridge, const Tensor& rhs) {
  Resources& gpu = context.cuda();
  const std::int64_t n = h.rows();
  if (n == 0) return true;
  const Array<double> trace(1, "a sum");
  launch(gpu, sum_diagonal, dim3(1), block_threads, 0, h.floats(), n, trace.data());
  const double sum = gpu.download(trace.data());
  const double added = ridge * (sum > 0 ? sum / static_cast<double>(n) : 1);
  launch(gpu, add_to_diagonal, blocks_for(n), block_threads, 0, h.floats(), n, added);
  if (!factor_lower(gpu, h.floats(), n)) return false;
  solve_lower_left(gpu, n, rhs.columns(), h.floats(), rhs.floats());
  solve_lower_transposed_left(gpu, n, rhs.columns(), h.floats(), rhs.floats());
  return cuda::all_finite(context, rhs);
}

void symmetric_product(const Context& context, const Tensor& h, const Tensor& x, const Tensor& y) {
  if (y.empty()) return;
  const float one = 1, zero = 0;
  const int n = static_cast<int>(h.rows()), d = static_cast<int>(x.columns());
  check_blas(cublasSsymm(context.cuda().blas(), CUBLAS_SIDE_RIGHT, CUBLAS_FILL_MODE_UPPER, d, n, &one,
                         h.floats(), n, x.floats(), d, &zero, y.floats(), d),
             "cublasSsymm");
}

void principal_submatrix(const Context& context, const Tensor& h, std::span<const std::int64_t> indices,
                         const Tensor& out) {
  Resources& gpu = context.cuda();
  const Array<std::int64_t> there = gpu.upload(indices);
  launch(gpu, take_submatrix, blocks_for(out.elements()), block_threads, 0, h.floats(), h.rows(),
         there.data(), out.rows(), out.floats());
}

void combine(const Context& context, float alpha, const Tensor& x, float beta, const Tensor& y) {
  launch(context.cuda(), weigh, blocks_for(y.elements()), block_threads, 0, alpha, x.floats(), beta,
         y.floats(), y.elements());
}

double inner_product(const Context& context, const Tensor& x, const Tensor& y) {
  Resources& gpu = context.cuda();
  const Array<double> sums(inner_product_blocks + 1, "sums");
  launch(gpu, partial_products, dim3(inner_product_blocks), block_threads, 0, x.floats(), y.floats(),
         x.elements(), sums.data());
  launch(gpu, total, dim3(1), inner_product_blocks, 0, sums.data(), sums.data() + inner_product_blocks);
  return gpu.download(sums.data() + inner_product_blocks);
}

}  // namespace galapagos::ops::cuda
