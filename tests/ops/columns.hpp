#pragma once

#include <algorithm>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::test {

/// Columns [first, last) of a matrix of the host, fp32.
inline OwnedTensor columns_of(const Tensor& whole, std::int64_t first, std::int64_t last) {
  const std::int64_t rows = whole.rows(), width = last - first;
  OwnedTensor part({rows, width}, DType::f32, Device::cpu, "test");
  for (std::int64_t row = 0; row < rows; ++row)
    std::copy_n(whole.floats() + row * whole.columns() + first, width, part->floats() + row * width);
  return part;
}

}  // namespace galapagos::test
