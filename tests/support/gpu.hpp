#pragma once

#include "support/skip.hpp"

#include <galapagos/tensor/gpu.hpp>

namespace galapagos::test {

/// Whether there is no GPU to test on, which is then said: CTest counts a case that says so as skipped.
inline bool without_gpu() {
  if (!visible_gpus().empty()) return false;
  say_skipped("no GPU is visible");
  return true;
}

}  // namespace galapagos::test
