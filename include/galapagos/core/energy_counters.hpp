#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace galapagos {

/// Joules by what they were counted for: "node", "processors", "memory", "gpus".
using Energy = std::map<std::string, double>;

/// The counters of energy of this node, as far as they can be read: "node" of HPE Cray's pm_counters,
/// "processors" and "memory" of RAPL (Linux' powercap, of which distributions let root alone read). They
/// count for all that runs on the node. Not for several threads at once.
class EnergyCounters {
 public:
  /// `sys`: where the kernel shows its devices.
  explicit EnergyCounters(const std::filesystem::path& sys = "/sys");

  bool empty() const { return counters_.empty(); }
  /// Since the making of this. RAPL's counters start anew after some minutes of full load: what they count is
  /// right where this is called more often.
  Energy so_far();

 private:
  struct Counter {
    std::filesystem::path path;
    std::string of;
    double joules = 1;        ///< of a unit
    std::uint64_t range = 0;  ///< the most it shows before it starts anew; 0: it never does
    std::uint64_t last = 0;
    double sum = 0;
  };
  void add(Counter counter);

  std::vector<Counter> counters_;
};

}  // namespace galapagos
