#include "support/catch.hpp"
#include "support/files.hpp"

#include <fstream>

#include <galapagos/core/meter.hpp>

using namespace galapagos;

namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text << "\n";
}

/// A zone of RAPL: microjoules that start anew behind `range`.
void write_zone(const std::filesystem::path& sys, const std::string& zone, const std::string& name,
                const std::string& microjoules, const std::string& range = "262143328850") {
  const std::filesystem::path folder = sys / "class/powercap" / zone;
  write(folder / "name", name);
  write(folder / "energy_uj", microjoules);
  write(folder / "max_energy_range_uj", range);
}

}  // namespace

TEST_CASE("processors and memory are counted once, beyond where their counters start anew", "[energy]") {
  const test::TemporaryFolder sys;
  write_zone(sys.path(), "intel-rapl:0", "package-0", "5000000");
  write_zone(sys.path(), "intel-rapl:0:0", "core", "4000000");  // of the package
  write_zone(sys.path(), "intel-rapl:0:1", "dram", "1000000");
  write_zone(sys.path(), "intel-rapl:1", "package-1", "7000000", "9000000");
  write_zone(sys.path(), "intel-rapl:2", "psys", "9000000");  // of all
  EnergyCounters counters(sys.path());
  CHECK(counters.so_far() == Energy{{"memory", 0}, {"processors", 0}});
  write_zone(sys.path(), "intel-rapl:0", "package-0", "8000000");
  write_zone(sys.path(), "intel-rapl:0:0", "core", "7000000");
  write_zone(sys.path(), "intel-rapl:0:1", "dram", "1500000");
  write_zone(sys.path(), "intel-rapl:1", "package-1", "500000", "9000000");
  Energy energy = counters.so_far();
  CHECK(energy.size() == 2);
  CHECK(energy["processors"] == Approx(3 + 2.5));
  CHECK(energy["memory"] == Approx(0.5));
  std::filesystem::remove(sys.path() / "class/powercap/intel-rapl:1/energy_uj");  // its driver has gone
  energy = counters.so_far();
  CHECK(energy["processors"] == Approx(5.5));
}

TEST_CASE("a Cray tells the energy of the whole node", "[energy]") {
  const test::TemporaryFolder sys;
  write(sys.path() / "cray/pm_counters/energy", "123456 J 1700000000000000 us");
  EnergyCounters counters(sys.path());
  write(sys.path() / "cray/pm_counters/energy", "123956 J 1700000001000000 us");
  CHECK(counters.so_far() == Energy{{"node", 500}});
}

TEST_CASE("a machine that tells nothing has no energy", "[energy]") {
  const test::TemporaryFolder sys;
  write(sys.path() / "class/powercap/intel-rapl:0/name", "package-0");  // and nobody may read more
  write(sys.path() / "cray/pm_counters/energy", "none");
  CHECK(EnergyCounters(sys.path()).empty());
  CHECK(EnergyCounters(sys.path() / "nowhere").empty());
  CHECK(!GpuEnergy("GPU-1", "libnothing-of-this-name.so").so_far());
}

TEST_CASE("a GPU's energy comes from NVML, and only of a GPU that it knows", "[energy]") {
  const GpuEnergy gpu("GPU-1", GALAPAGOS_FAKE_NVML), other("GPU-2", GALAPAGOS_FAKE_NVML);
  CHECK(!other.so_far());
  CHECK(gpu.so_far() == 250);
  CHECK(gpu.so_far() == 500);
}

TEST_CASE("a meter tells what was taken in all and since it was last asked", "[energy]") {
  const test::TemporaryFolder sys;
  write_zone(sys.path(), "intel-rapl:0", "package-0", "0");
  Meter meter;
  CHECK(!meter.begun());
  meter.begin(true, sys.path());
  REQUIRE(meter.begun());
  const auto joules = [&](const Meter::Reading& reading) { return reading.joules.at("processors"); };
  write_zone(sys.path(), "intel-rapl:0", "package-0", "3000000");
  CHECK(joules(meter.since_last()) == Approx(3));
  write_zone(sys.path(), "intel-rapl:0", "package-0", "5000000");
  CHECK(joules(meter.total()) == Approx(5));
  CHECK(joules(meter.since_last()) == Approx(2));
  const Meter::Reading rest = meter.since_last();
  CHECK(joules(rest) == 0);
  CHECK(rest.seconds <= meter.total().seconds);
  Meter elsewhere;
  elsewhere.begin(false, sys.path());
  CHECK(elsewhere.total().joules.empty());
}
