#include <algorithm>
#include <fstream>
#include <optional>
#include <system_error>

#include <galapagos/core/energy_counters.hpp>

namespace galapagos {
namespace fs = std::filesystem;
namespace {

/// The first whole number of a file of the kernel; "123456 J 1700000000 us" has two.
std::optional<std::uint64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

std::string read_word(const fs::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

/// The folders in one, in order; none where it is not there or cannot be read.
std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    found.push_back(at->path());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void EnergyCounters::add(Counter counter) {
  const std::optional<std::uint64_t> now = read_number(counter.path);
  if (!now) return;
  counter.last = *now;
  counters_.push_back(std::move(counter));
}

EnergyCounters::EnergyCounters(const fs::path& sys) {
  add({sys / "cray/pm_counters/energy", "node"});
  // intel-rapl:0 is a package, also one of AMD, and intel-rapl:0:1 a part of it. Its cores are in the
  // package's sum, its memory is not; "psys" counts both again.
  for (const fs::path& zone : folders_in(sys / "class/powercap")) {
    const std::string name = read_word(zone / "name");
    const bool package = name.starts_with("package"), memory = name == "dram";
    if (!package && !memory) continue;
    add({zone / "energy_uj", package ? "processors" : "memory", 1e-6,
         read_number(zone / "max_energy_range_uj").value_or(0)});
  }
}

Energy EnergyCounters::so_far() {
  Energy energy;
  for (Counter& counter : counters_) {
    if (const std::optional<std::uint64_t> now = read_number(counter.path)) {
      if (*now >= counter.last) {
        counter.sum += counter.joules * static_cast<double>(*now - counter.last);
      } else if (counter.range > counter.last) {
        counter.sum += counter.joules * static_cast<double>(counter.range - counter.last + *now);
      }
      counter.last = *now;
    }
    energy[counter.of] += counter.sum;
  }
  return energy;
}

}  // namespace galapagos
