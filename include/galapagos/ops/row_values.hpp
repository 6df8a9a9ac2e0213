#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::ops {

/// Where the fp64 results of an operation go, one of each row: to the host, which waits for them, or to the
/// memory of the context's device, where they come in the order of its work.
struct RowValues {
  double* data = nullptr;
  std::int64_t size = 0;
  Device device = Device::cpu;

  RowValues(double* first, std::int64_t count, Device of) : data(first), size(count), device(of) {}
  RowValues(std::span<double> values)  // NOLINT: any values of the host
      : data(values.data()), size(static_cast<std::int64_t>(values.size())) {}
  RowValues(std::vector<double>& values) : RowValues(std::span(values)) {}  // NOLINT

  RowValues part(std::int64_t first, std::int64_t count) const { return {data + first, count, device}; }
  std::span<double> on_host() const { return {data, static_cast<std::size_t>(size)}; }
};

}  // namespace galapagos::ops
