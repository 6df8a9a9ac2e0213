#include "support/catch.hpp"

#include <algorithm>
#include <vector>

#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/memory_gauge.hpp>

using namespace galapagos;

TEST_CASE("an inner phase's time is not the outer one's, and nothing is lost", "[phases]") {
  const Stopwatch watch;
  PhaseTimes times;
  {
    const PhaseScope outer(&times, "outer"), none(nullptr, "nothing");
    for (int i = 0; i < 3; ++i) const PhaseScope inner(&times, "inner");
  }
  times.move("other", "outer", 100);
  const std::vector<PhaseTimes::Phase> phases = times.phases();
  REQUIRE(phases.size() == 3);
  CHECK(phases[0].name == "outer");
  CHECK(phases[1].name == "inner");
  CHECK(phases[2].name == "other");
  CHECK(phases[0].seconds >= 100);
  CHECK(phases[1].seconds >= 0);
  CHECK(phases[2].seconds <= -100 + watch.seconds());
  const double sum = phases[0].seconds + phases[1].seconds + phases[2].seconds;
  CHECK(sum >= 0);
  CHECK(sum <= watch.seconds() + 1e-9);
}

TEST_CASE("phases are spread over the ranks, also those that some ranks lack", "[phases]") {
  const Communicator world = Communicator::world();
  std::vector<PhaseTimes::Phase> mine = {{"work", 100.0 * (1 + world.rank())}};
  if (world.rank() + 1 == world.size()) mine.push_back({"only on the last", 40});
  mine.push_back({"other", 3});
  const Json spread = spread_over_ranks(world, mine);
  if (!world.is_root()) {
    CHECK(spread.empty());
    return;
  }
  const int size = world.size();
  CHECK(spread["work"]["min"] == 100);
  CHECK(spread["work"]["max"] == 100 * size);
  CHECK(spread["work"]["mean"].get<double>() == Approx(50.0 * (size + 1)));
  CHECK(spread["only on the last"]["min"] == (size == 1 ? 40 : 0));
  CHECK(spread["only on the last"]["max"] == 40);
  CHECK(spread["only on the last"]["mean"].get<double>() == Approx(40.0 / size));
  double shares = 0;
  std::vector<std::string> names;
  for (const auto& [name, phase] : spread.items()) {
    names.push_back(name);
    shares += phase["share"].get<double>();
  }
  CHECK(names == std::vector<std::string>{"work", "only on the last", "other"});
  CHECK(shares == Approx(1));
  CHECK(spread["work"]["share"].get<double>() ==
        Approx(50.0 * (size + 1) / (50.0 * (size + 1) + 40.0 / size + 3)));
}

TEST_CASE("a run reports the most that a rank's tensors took since the last report", "[phases]") {
  const Communicator world = Communicator::world();
  PhaseTimes times;
  report_run(world, times);
  const std::uint64_t before = host_tensors().now();
  const auto mine = static_cast<std::uint64_t>(1000 * (1 + world.rank()));
  host_tensors().add(mine);
  host_tensors().add(70);
  host_tensors().remove(mine);
  const RunReport first = report_run(world, times), second = report_run(world, times);
  host_tensors().remove(70);
  if (!world.is_root()) return;
  CHECK(first.memory["host"] == before + 70 + 1000 * static_cast<std::uint64_t>(world.size()));
  CHECK(second.memory["host"] == before + 70);
  CHECK(!first.memory.contains("gpu"));
  Json manifest;
  first.add_to(manifest);
  CHECK(manifest["memory"] == first.memory);
  CHECK(manifest["phases"] == first.phases);
}
