#pragma once

#include <cstdint>

namespace galapagos {

/// How the levels of --start gradient are learned.
struct RelaxationOptions {
  std::int64_t steps = 100;
  std::int64_t tokens = 2048;  ///< of a step
  double spread = 3;           ///< levels by which the best one of a module is expected to lie off its first
};

}  // namespace galapagos
