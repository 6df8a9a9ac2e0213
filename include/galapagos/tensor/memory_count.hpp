#pragma once

#include <cstdint>

namespace galapagos {

/// While one lives, what its thread makes of buffers takes no memory but is added up, and nothing is copied
/// or set to zero: what is constructed meanwhile is good for its size alone. They do not nest.
class MemoryCount {
 public:
  MemoryCount();
  ~MemoryCount();
  MemoryCount(const MemoryCount&) = delete;
  MemoryCount& operator=(const MemoryCount&) = delete;

  /// Of the buffers made since that still live.
  std::uint64_t bytes() const;
  /// Whether one lives on this thread.
  static bool counting();
};

/// Bytes of all buffers in what `make` returns, without allocating them.
template <typename Make>
std::uint64_t bytes_held(const Make& make) {
  const MemoryCount count;
  const auto made = make();
  return count.bytes();
}

}  // namespace galapagos
