#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace galapagos {

/// Seconds since its making.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Log lines "phase 12/48, ETA 00:01:40" as work of known size goes on, at most one every few seconds.
class Progress {
 public:
  Progress(std::string phase, std::int64_t total) : phase_(std::move(phase)), total_(total) {}

  void advance(std::int64_t amount = 1);

 private:
  std::string phase_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  Stopwatch watch_;
  double last_line_ = 0;
};

}  // namespace galapagos
