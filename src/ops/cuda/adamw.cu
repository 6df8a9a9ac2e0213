#include "../backends.hpp"
#include "launch.cuh"
#include "reduce.cuh"

#include <cmath>

namespace galapagos::ops::cuda {
namespace {

struct Factors {
  float gradient, beta1, rest1, beta2, rest2, decay, step_size, root, epsilon;
};

__global__ void update(Factors f, const float* gradients, float* weights, float* first, float* second,
                       std::int64_t count) {
  for (std::int64_t i = global_thread(); i < count; i += global_threads()) {
    const float g = gradients[i] * f.gradient;
    const float m = f.beta1 * first[i] + f.rest1 * g;
    const float v = f.beta2 * second[i] + f.rest2 * g * g;
    first[i] = m;
    second[i] = v;
    weights[i] = weights[i] * f.decay - f.step_size * m / (sqrtf(v) * f.root + f.epsilon);
  }
}

constexpr int sum_blocks = 512;  // the same on every GPU, so that the sum is

__global__ void partial_squares(const float* x, std::int64_t count, double* sums) {
  double sum = 0;
  for (std::int64_t i = global_thread(); i < count; i += global_threads())
    sum += static_cast<double>(x[i]) * x[i];
  sum = block_reduce(sum, Sum{});
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void total(const double* sums, double* result) {
  const double sum = block_reduce(sums[threadIdx.x], Sum{});
  if (threadIdx.x == 0) *result = sum;
}

}  // namespace

void adamw(const Context& context, const AdamWStep& step, const Tensor& gradients, const Tensor& weights,
           const Tensor& first, const Tensor& second) {
  const auto steps = static_cast<double>(step.step);
  Factors factors{};
  factors.gradient = static_cast<float>(step.gradient_factor);
  factors.beta1 = static_cast<float>(step.beta1);
  factors.rest1 = static_cast<float>(1 - step.beta1);
  factors.beta2 = static_cast<float>(step.beta2);
  factors.rest2 = static_cast<float>(1 - step.beta2);
  factors.decay = static_cast<float>(1 - step.learning_rate * step.weight_decay);
  factors.step_size = static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, steps)));
  factors.root = static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, steps)));
  factors.epsilon = static_cast<float>(step.epsilon);
  const std::int64_t count = weights.elements();
  launch(context.cuda(), update, blocks_for(count), block_threads, 0, factors, gradients.floats(),
         weights.floats(), first.floats(), second.floats(), count);
}

double sum_of_squares(const Context& context, const Tensor& x) {
  Resources& gpu = context.cuda();
  const Array<double> sums(sum_blocks + 1, "sums");
  launch(gpu, partial_squares, dim3(sum_blocks), block_threads, 0, x.floats(), x.elements(), sums.data());
  launch(gpu, total, dim3(1), sum_blocks, 0, sums.data(), sums.data() + sum_blocks);
  return gpu.download(sums.data() + sum_blocks);
}

}  // namespace galapagos::ops::cuda
