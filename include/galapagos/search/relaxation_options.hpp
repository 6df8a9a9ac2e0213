#pragma once

#include <cstdint>

namespace galapagos {

/// How the levels of --start gradient are learned.
struct RelaxationOptions {
  std::int64_t steps = 100;
  std::int64_t tokens = 2048;  ///< of a step
  double rate = 0.8;           ///< levels that a module may move in the first step, falling to 0 in the last
};

}  // namespace galapagos
