#pragma once

#include "support/catch.hpp"
#include "support/gpu.hpp"
#include "support/random.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/tensor/gpu.hpp>

// The tests of the operations run on every backend there is, from one source.
namespace galapagos::test {

/// The CPU, and a GPU where this build knows of them and one is visible.
inline std::vector<Device> devices() {
  if (!visible_gpus().empty()) {
    static const ops::Context kept(Device::cuda);  // so that not every test makes handles anew
    return {Device::cpu, Device::cuda};
  }
  if (built_with_cuda()) WARN("SKIPPED on the GPU: none is visible");
  return {Device::cpu};
}

/// A copy in the memory of a device.
inline OwnedTensor on(Device device, const Tensor& tensor) {
  OwnedTensor copy(tensor.shape, tensor.dtype, device, "test");
  copy_bytes(copy->data, device, tensor.data, tensor.device, tensor.bytes());
  return copy;
}

/// A tensor of NaN on a device: what an operation does not write shows.
inline OwnedTensor poisoned_on(Device device, Shape shape) {
  return on(device, poisoned(shape));
}

inline OwnedTensor zeros_on(Device device, Shape shape) {
  OwnedTensor tensor(shape, DType::f32, device, "test");
  fill_zero(tensor);
  return tensor;
}

/// The values of a tensor on any device.
inline std::vector<float> read(const Tensor& tensor) {
  return values_of(on(Device::cpu, tensor));
}

/// The values as `type` stores them.
inline OwnedTensor rounded(const Tensor& tensor, DType type) {
  const std::vector<float> values = read(tensor);
  const OwnedTensor stored(tensor.shape, type, Device::cpu, "test");
  convert_from_float(values, type, stored->data);
  OwnedTensor wide(tensor.shape, DType::f32, Device::cpu, "test");
  convert_to_float(type, stored->data, wide->float_span());
  return wide;
}

/// The values on a device, stored there as `type`.
inline OwnedTensor stored_on(Device device, const Tensor& tensor, DType type) {
  const OwnedTensor stored(tensor.shape, type, Device::cpu, "test");
  convert_from_float(read(tensor), type, stored->data);
  return on(device, stored);
}

/// |found - wanted| / |wanted| in the Euclidean norm; infinite where anything is not a number.
inline double relative_error(const std::vector<float>& found, const std::vector<float>& wanted) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - wanted[i], 2);
    norm += std::pow(static_cast<double>(wanted[i]), 2);
  }
  if (std::isnan(difference) || found.size() != wanted.size()) return INFINITY;
  return difference == 0 ? 0 : std::sqrt(difference / norm);
}

}  // namespace galapagos::test

/// Runs the test case once for each device.
#define GENERATE_DEVICE() GENERATE(Catch::Generators::from_range(galapagos::test::devices()))
