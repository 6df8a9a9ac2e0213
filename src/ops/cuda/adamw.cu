#include "../backends.hpp"
#include "launch.cuh"

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
  return cuda::inner_product(context, x, x);
}

}  // namespace galapagos::ops::cuda
