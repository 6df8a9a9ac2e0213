#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace galapagos::ops {

/// What attention of a layer may have beyond the usual.
struct AttentionRule {
  std::int64_t window = 0;  ///< keys that a query sees, its own the last of them; 0: all before it
  float scale = 0;          ///< of the scores; 0: 1 / sqrt(head_dim)
  float cap = 0;            ///< scores s become cap * tanh(s / cap), before the softmax; 0: they stay

  float scale_of(std::int64_t head_dim) const {
    return scale != 0 ? scale : 1.0f / std::sqrt(static_cast<float>(head_dim));
  }
  /// The rule with a window only where a sequence is longer than it.
  AttentionRule of(std::span<const std::int64_t> offsets) const {
    std::int64_t longest = 0;
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
      longest = std::max(longest, offsets[s + 1] - offsets[s]);
    return {longest > window ? window : 0, scale, cap};
  }

  bool operator==(const AttentionRule&) const = default;
};

}  // namespace galapagos::ops
