#include "../backends.hpp"

#include <cmath>

namespace galapagos::ops::cpu {

void soft_cap(const Context&, const Tensor& x, float cap) {
  float* values = x.floats();
  const std::int64_t count = x.elements();
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) values[i] = cap * std::tanh(values[i] / cap);
}

void soft_cap_backward(const Context&, const Tensor& capped, float cap, const Tensor& d) {
  const float* y = capped.floats();
  float* gradient = d.floats();
  const std::int64_t count = d.elements();
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < count; ++i) gradient[i] *= 1.0f - (y[i] / cap) * (y[i] / cap);
}

}  // namespace galapagos::ops::cpu
