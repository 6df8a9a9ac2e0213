#pragma once

#include <cstdint>

namespace galapagos {

/// By which settings the attention of a layer turns its heads.
enum class LayerRope : std::uint8_t { usual, local, none };

/// In what the attention of a layer may differ from that of others of its model.
struct AttentionKind {
  std::int64_t window = 0;  ///< tokens that a token sees, itself included; 0: all before it
  LayerRope rope = LayerRope::usual;

  bool operator==(const AttentionKind&) const = default;
};

}  // namespace galapagos
