#pragma once

#include "resources.hpp"

#include <galapagos/ops/row_values.hpp>

namespace galapagos::ops::cuda {

/// `work` queues what writes the values of some rows; they go straight to their place where that is here.
template <typename Work>
void fill(Resources& gpu, const RowValues& values, std::int64_t rows, const Work& work) {
  if (values.device == Device::cuda) return work(values.data);
  const Array<double> found(rows, "losses");
  work(found.data());
  gpu.download(found.data(), values.on_host().first(static_cast<std::size_t>(rows)));
}

}  // namespace galapagos::ops::cuda
