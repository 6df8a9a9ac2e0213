#pragma once

#include <galapagos/core/progress.hpp>
#include <galapagos/core/signals.hpp>

namespace galapagos {

/// Whether a run is to end in order before it is done: a signal has asked for it, or its time is up.
class StopRule {
 public:
  /// From now on `max_seconds`; 0: no limit.
  explicit StopRule(double max_seconds) : max_seconds_(max_seconds) {}

  bool holds() const { return stop_requested() || (max_seconds_ > 0 && watch_.seconds() > max_seconds_); }

 private:
  double max_seconds_;
  Stopwatch watch_;
};

}  // namespace galapagos
