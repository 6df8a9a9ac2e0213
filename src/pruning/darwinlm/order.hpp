#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace galapagos::darwinlm {

/// Of levels 1, 2, ...: which structures have weights of zero alone.
using ZeroStructures = std::vector<std::vector<bool>>;

/// How many structures are zero at each level, the dense one first, and stay so at all later ones.
std::vector<std::int64_t> lasting_zeros(const ZeroStructures& zero);

struct RemovalOrder {
  std::vector<std::int32_t> structures;  ///< up to the last level; within a level ascending
  std::int64_t kept_zeros = 0;           ///< structures, over all levels, that are zero and yet not removed
};

/// An order that removes `removed` structures at levels 0, 1, ..., at each level only such as are zero there
/// and later; which of them does not matter to the model. InputError, naming `where`, where there are too
/// few.
RemovalOrder removal_order(const ZeroStructures& zero, std::span<const std::int64_t> removed,
                           const std::string& where);

}  // namespace galapagos::darwinlm
