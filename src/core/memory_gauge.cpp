#include <galapagos/core/memory_gauge.hpp>

namespace galapagos {

void MemoryGauge::add(std::uint64_t bytes) {
  const std::uint64_t now = now_ += bytes;
  for (std::uint64_t most = most_; most < now;) {
    if (most_.compare_exchange_weak(most, now)) break;
  }
}

MemoryGauge& host_tensors() {
  static MemoryGauge gauge;
  return gauge;
}

MemoryGauge& gpu_tensors() {
  static MemoryGauge gauge;
  return gauge;
}

}  // namespace galapagos
