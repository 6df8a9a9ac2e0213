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

/// Shows how work of known size goes on: a bar on a terminal; else log lines "phase 12/48, ETA 00:01:40", at
/// most one every few seconds. Only where logging shows such lines (rank 0).
class Progress {
 public:
  /// `already`: what an earlier run has done of `total`.
  Progress(std::string phase, std::int64_t total, std::int64_t already = 0)
      : phase_(std::move(phase)), total_(total), already_(already), done_(already) {}
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `note` is added to the line.
  void advance(std::int64_t amount = 1, const std::string& note = {});

 private:
  std::string phase_;
  std::int64_t total_;
  std::int64_t already_;
  std::int64_t done_;
  bool bar_shown_ = false;
  Stopwatch watch_;
  double last_line_ = 0;
};

}  // namespace galapagos
