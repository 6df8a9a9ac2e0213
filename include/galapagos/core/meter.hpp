#pragma once

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <galapagos/core/energy_counters.hpp>
#include <galapagos/core/gpu_energy.hpp>
#include <galapagos/core/progress.hpp>

namespace galapagos {

/// What this process takes of its machine: time, and the energy of its node and its GPU where it counts them.
class Meter {
 public:
  /// What was taken between two moments.
  struct Reading {
    double seconds = 0;
    std::string gpu;  ///< the UUID of the one in use; empty where there is none
    Energy joules;
  };

  Meter() = default;
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  /// Starts, counting the node's energy too where it is this process' part to do so. Once.
  void begin(bool counts_node, const std::filesystem::path& sys = "/sys");
  /// Counts for this GPU from now on.
  void watch_gpu(const std::string& uuid);

  bool begun() const { return watch_.has_value(); }
  /// Since the start.
  Reading total();
  /// Since the last of these, or the start: for one of several runs of a process.
  Reading since_last();
  /// Whether that was ever asked for, as it is once some work is done.
  bool asked() const { return asked_; }

 private:
  void sample();

  std::optional<Stopwatch> watch_;
  std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  std::unique_ptr<EnergyCounters> node_;
  std::unique_ptr<GpuEnergy> gpu_;
  std::string gpu_uuid_;
  bool over_ = false, asked_ = false;
  Reading last_;
  std::thread thread_;
};

/// Of this process.
Meter& meter();

}  // namespace galapagos
