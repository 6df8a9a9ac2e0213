#pragma once

#include <atomic>
#include <cstdint>

namespace galapagos {

/// Bytes that are held now, and that were held at most at a time since the start. Any thread may note some.
class MemoryGauge {
 public:
  void add(std::uint64_t bytes);
  void remove(std::uint64_t bytes) { now_ -= bytes; }

  std::uint64_t now() const { return now_; }
  std::uint64_t most() const { return most_; }
  void restart() { most_ = now_.load(); }

 private:
  std::atomic<std::uint64_t> now_ = 0, most_ = 0;
};

/// Of the tensors of this process in the host's memory, and of those on its GPU.
MemoryGauge& host_tensors();
MemoryGauge& gpu_tensors();

}  // namespace galapagos
