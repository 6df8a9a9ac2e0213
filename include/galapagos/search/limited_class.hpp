#pragma once

#include <cstdint>
#include <vector>

namespace galapagos {

/// A class of a multiple-choice knapsack with several limits: exactly one of its choices 0, 1, ... is taken.
struct LimitedClass {
  std::vector<std::vector<std::int64_t>> costs;  ///< under each limit, of each choice, 0 or more
  std::vector<double> losses;                    ///< of each choice, finite
};

}  // namespace galapagos
