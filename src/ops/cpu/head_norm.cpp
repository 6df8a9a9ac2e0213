#include "../backends.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

float factor_of(double squares, std::int64_t head_dim, float epsilon) {
  return 1.0f / std::sqrt(static_cast<float>(squares / static_cast<double>(head_dim)) + epsilon);
}

}  // namespace

void head_norm(const Context&, const Tensor& x, const Tensor& weight, const NormRule& rule,
               const Tensor& out) {
  const std::int64_t head_dim = weight.elements(), heads = x.elements() / head_dim;
  const float* scale = weight.floats();
#pragma omp parallel for schedule(static)
  for (std::int64_t head = 0; head < heads; ++head) {
    const float* in = x.floats() + head * head_dim;
    float* result = out.floats() + head * head_dim;
    double squares = 0;
    for (std::int64_t i = 0; i < head_dim; ++i) squares += static_cast<double>(in[i]) * in[i];
    const float factor = factor_of(squares, head_dim, rule.epsilon);
    for (std::int64_t i = 0; i < head_dim; ++i) result[i] = in[i] * factor * (scale[i] + rule.shift);
  }
}

void head_norm_backward(const Context&, const Tensor& x, const Tensor& weight, const NormRule& rule,
                        const Tensor& d, const Tensor& d_weight) {
  // As rms_norm_backward, head by head. The weight's gradient is summed by pieces of a fixed size, so that it
  // does not depend on the number of threads.
  constexpr std::int64_t piece = piece_of_heads;
  const std::int64_t head_dim = weight.elements(), heads = x.elements() / head_dim;
  const std::int64_t pieces = (heads + piece - 1) / piece;
  const float* scale = weight.floats();
  std::vector<float> sums(static_cast<std::size_t>(pieces * head_dim), 0.0f);
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < pieces; ++p) {
    float* sum = sums.data() + p * head_dim;
    for (std::int64_t head = p * piece; head < std::min(heads, (p + 1) * piece); ++head) {
      const float* in = x.floats() + head * head_dim;
      float* gradient = d.floats() + head * head_dim;
      double squares = 0, product = 0;
      for (std::int64_t i = 0; i < head_dim; ++i) {
        squares += static_cast<double>(in[i]) * in[i];
        product += static_cast<double>(gradient[i] * (scale[i] + rule.shift)) * in[i];
      }
      const float factor = factor_of(squares, head_dim, rule.epsilon);
      const float back =
          factor * factor * factor * static_cast<float>(product / static_cast<double>(head_dim));
      for (std::int64_t i = 0; i < head_dim; ++i) {
        sum[i] += gradient[i] * in[i] * factor;
        gradient[i] = factor * gradient[i] * (scale[i] + rule.shift) - in[i] * back;
      }
    }
  }
  for (std::int64_t p = 0; p < pieces; ++p) {
    for (std::int64_t i = 0; i < head_dim; ++i)
      d_weight.floats()[i] += sums[static_cast<std::size_t>(p * head_dim + i)];
  }
}

}  // namespace galapagos::ops::cpu
