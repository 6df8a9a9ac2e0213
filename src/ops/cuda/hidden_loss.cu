#include "../backends.hpp"
#include "../hidden_loss_row.hpp"
#include "launch.cuh"
#include "reduce.cuh"
#include "row_results.cuh"

namespace galapagos::ops::cuda {
namespace {

/// A thread block per row.
__global__ void hidden_losses(HiddenLoss kind, const float* x, const float* reference, const float* weights,
                              std::int64_t hidden, float* d_x, double* loss) {
  const float *found = x + blockIdx.x * hidden, *wanted = reference + blockIdx.x * hidden;
  float* gradient = d_x + blockIdx.x * hidden;
  double squares = 0, reference_squares = 0, product = 0, difference = 0;
  for (std::int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    const auto a = static_cast<double>(found[i]), b = static_cast<double>(wanted[i]);
    squares += a * a;
    reference_squares += b * b;
    product += a * b;
    difference += (a - b) * (a - b);
  }
  squares = block_reduce(squares, Sum{});
  reference_squares = block_reduce(reference_squares, Sum{});
  product = block_reduce(product, Sum{});
  difference = block_reduce(difference, Sum{});
  const HiddenLossRow of_row(kind, squares, reference_squares, product, difference);
  if (threadIdx.x == 0) loss[blockIdx.x] = of_row.loss;
  const float weight = weights[blockIdx.x];
  const float by_difference = weight * of_row.by_difference, by_reference = weight * of_row.by_reference;
  for (std::int64_t i = threadIdx.x; i < hidden; i += blockDim.x)
    gradient[i] += by_difference * (found[i] - wanted[i]) + by_reference * wanted[i];
}

}  // namespace

void hidden_loss(const Context& context, HiddenLoss kind, const Tensor& x, const Tensor& reference,
                 std::span<const float> weights, const Tensor& d_x, const RowValues& loss) {
  if (x.empty()) return;
  Resources& gpu = context.cuda();
  const Array<float> factors = gpu.upload(weights);
  fill(gpu, loss, x.rows(), [&](double* found) {
    launch(gpu, hidden_losses, dim3(static_cast<unsigned>(x.rows())), block_threads, 0, kind, x.floats(),
           reference.floats(), factors.data(), x.columns(), d_x.floats(), found);
  });
}

}  // namespace galapagos::ops::cuda
