#include "../backends.hpp"

#include <cmath>

namespace galapagos::ops::cpu {

void adamw(const Context&, const AdamWStep& step, const Tensor& gradients, const Tensor& weights,
           const Tensor& first, const Tensor& second) {
  const auto count = weights.elements();
  const auto steps = static_cast<double>(step.step);
  const auto step_size = static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, steps)));
  const auto root = static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, steps)));
  const auto decay = static_cast<float>(1 - step.learning_rate * step.weight_decay);
  const auto beta1 = static_cast<float>(step.beta1), rest1 = static_cast<float>(1 - step.beta1);
  const auto beta2 = static_cast<float>(step.beta2), rest2 = static_cast<float>(1 - step.beta2);
  const auto epsilon = static_cast<float>(step.epsilon), factor = static_cast<float>(step.gradient_factor);
  const float* gradient = gradients.floats();
  float *w = weights.floats(), *m = first.floats(), *v = second.floats();
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * factor;
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    w[i] = w[i] * decay - step_size * m[i] / (std::sqrt(v[i]) * root + epsilon);
  }
}

double sum_of_squares(const Context& context, const Tensor& x) {
  return cpu::inner_product(context, x, x);
}

}  // namespace galapagos::ops::cpu
