#pragma once

#include <string>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::ops {

/// Where operations run. Every operation takes one, and tensors on its device. Results never depend on the
/// number of threads: work is cut into pieces by the extents of the operands alone.
class Context {
 public:
  /// `threads` host threads; 0 = what OpenMP would take.
  explicit Context(Device device = Device::cpu, int threads = 0);

  Device device() const { return device_; }

 private:
  Device device_;
};

/// The device meant by --backend auto|cpu|cuda. UsageError for another word, ResourceError where the build
/// lacks it.
Device device_of_backend(const std::string& backend);

/// The BLAS in use, for --version.
std::string blas_version();

}  // namespace galapagos::ops
