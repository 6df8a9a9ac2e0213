#pragma once

#include <cstdint>

namespace galapagos {

/// How the strategy racing goes about it.
struct RacingOptions {
  std::int64_t tokens = 2048;  ///< of a block, on which a candidate is measured at a time
  double held_back = 0.125;    ///< share of the blocks on which only the end is chosen
  std::int64_t lag = 1;        ///< generations that begin before the one before them has ended
};

}  // namespace galapagos
