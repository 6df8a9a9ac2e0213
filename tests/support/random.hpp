#pragma once

#include <limits>
#include <random>
#include <vector>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::test {

/// A tensor of normally distributed values, rounded to `type`.
inline OwnedTensor random_tensor(Shape shape, std::mt19937& random, DType type = DType::f32,
                                 float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (float& value : values) value = normal(random);
  OwnedTensor tensor(shape, type, Device::cpu, "test");
  convert_from_float(values, type, tensor->data);
  return tensor;
}

/// A tensor of NaN: what an operation does not write shows.
inline OwnedTensor poisoned(Shape shape) {
  OwnedTensor tensor(shape, DType::f32, Device::cpu, "test");
  for (float& value : tensor->float_span()) value = std::numeric_limits<float>::quiet_NaN();
  return tensor;
}

inline std::vector<float> values_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  convert_to_float(tensor.dtype, tensor.data, values);
  return values;
}

}  // namespace galapagos::test
