#pragma once

#include <cstdint>

namespace galapagos {

/// Consecutive items [first, last).
struct Range {
  std::int64_t first = 0;
  std::int64_t last = 0;

  std::int64_t count() const { return last - first; }
  bool operator==(const Range&) const = default;
};

}  // namespace galapagos
