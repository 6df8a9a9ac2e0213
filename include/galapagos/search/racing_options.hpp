#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/search/measurements.hpp>

namespace galapagos {

/// How the strategy racing goes about it.
struct RacingOptions {
  std::int64_t tokens = 2048;              ///< of a block, on which a candidate is measured at a time
  double held_back = 0.125;                ///< share of the blocks on which only the end is chosen
  std::int64_t lag = 1;                    ///< generations that begin before the one before them has ended
  std::vector<Origin> ways = every_way();  ///< of breeding that may be taken

  /// mutation, stride, layer, removal, crossover, exchange.
  static std::vector<Origin> every_way();
};

/// Names of ways to breed, with spaces between them; UsageError where one is none, or there is none.
std::vector<Origin> parse_ways(const std::string& text);

}  // namespace galapagos
