#pragma once

#include <iostream>

#include <galapagos/tensor/gpu.hpp>

namespace galapagos::test {

/// Whether there is no GPU to test on, which is then said: CTest counts a case that says so as skipped.
inline bool without_gpu() {
  if (!visible_gpus().empty()) return false;
  std::cout << "SKIPPED: no GPU is visible\n";
  return true;
}

}  // namespace galapagos::test
