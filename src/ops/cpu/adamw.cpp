#include "../backends.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

/// NaN where any of the values is NaN or infinite, else 0.
float not_finite(const float* x, std::int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += x[i] * 0.0f;
  return sum;
}

/// The master weights as `precision` stores them, in the type of the working weights.
void store(const float* master, std::size_t count, DType precision, DType type, std::byte* weights) {
  if (type != DType::f32 || precision == DType::f32)
    return convert_from_float({master, count}, type, weights);
  std::vector<std::byte> rounded(count * size_of(precision));
  convert_from_float({master, count}, precision, rounded.data());
  convert_to_float(precision, rounded.data(), {reinterpret_cast<float*>(weights), count});
}

}  // namespace

void adamw(const Context&, const AdamWStep& step, const AdamWState& state, DType precision,
           const Tensor& bad) {
  const auto count = state.master.elements();
  const auto steps = static_cast<double>(step.step);
  const auto step_size = static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, steps)));
  const auto root = static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, steps)));
  const auto decay = static_cast<float>(1 - step.learning_rate * step.weight_decay);
  const auto beta1 = static_cast<float>(step.beta1), rest1 = static_cast<float>(1 - step.beta1);
  const auto beta2 = static_cast<float>(step.beta2), rest2 = static_cast<float>(1 - step.beta2);
  const auto epsilon = static_cast<float>(step.epsilon), factor = static_cast<float>(step.gradient_factor);
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < count; begin += piece_of_adamw) {
    const std::int64_t length = std::min(piece_of_adamw, count - begin);
    float *gradient = state.gradients.floats() + begin, *w = state.master.floats() + begin,
          *m = state.first.floats() + begin, *v = state.second.floats() + begin;
    if (!bad.empty() && std::isnan(not_finite(gradient, length))) {
#pragma omp atomic write
      bad.floats()[0] = NAN;
    }
#pragma omp simd
    for (std::int64_t i = 0; i < length; ++i) {
      const float g = gradient[i] * factor;
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * g * g;
      w[i] = w[i] * decay - step_size * m[i] / (std::sqrt(v[i]) * root + epsilon);
    }
    std::fill_n(gradient, length, 0.0f);
    store(w, static_cast<std::size_t>(length), precision, state.weights.dtype,
          state.weights.data + static_cast<std::size_t>(begin) * size_of(state.weights.dtype));
  }
}

void sums_of_squares(const Context& context, std::span<const Tensor> tensors, std::span<double> sums) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    sums[i] = cpu::inner_product(context, tensors[i], tensors[i]);
}

}  // namespace galapagos::ops::cpu
