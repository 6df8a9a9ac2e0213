#pragma once

#include <algorithm>
#include <cstdint>

#include <galapagos/ops/tuning.hpp>

namespace galapagos {

/// Calls tile(first, rows) for tokens [first, first + rows) of one tile of logits after the other, up to
/// `tokens`, until it says false. Whether it never did.
template <typename Tile>
bool for_logit_tiles(Device device, std::int64_t tokens, Tile&& tile) {
  const std::int64_t most = ops::logit_tile(device);
  for (std::int64_t first = 0; first < tokens; first += most) {
    if (!tile(first, std::min(most, tokens - first))) return false;
  }
  return true;
}

}  // namespace galapagos
