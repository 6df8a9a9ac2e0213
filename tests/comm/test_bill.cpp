#include "support/catch.hpp"

#include <galapagos/comm/bill.hpp>

using namespace galapagos;

TEST_CASE("a bill has the longest rank's time, each node's energy and each GPU once", "[bill]") {
  const Communicator world = Communicator::world();
  const int ranks = world.size();
  // Two ranks share each GPU and have counted the same but for a moment; the node's first counts the node.
  Meter::Reading mine;
  mine.seconds = 1800.0 + world.rank();
  mine.gpu = "GPU-" + std::to_string(world.rank() / 2);
  mine.joules["gpus"] = 100.0 + world.rank() % 2;
  if (world.is_root()) mine.joules["processors"] = 2500;
  const Bill bill = bill_of(world, mine);
  const int gpus = (ranks + 1) / 2;
  CHECK(bill.nodes == 1);
  CHECK(bill.ranks == ranks);
  CHECK(bill.gpus == gpus);
  CHECK(bill.seconds == 1800.0 + ranks - 1);
  CHECK(bill.node_hours() == Approx((1800.0 + ranks - 1) / 3600));
  CHECK(bill.gpu_hours() == Approx(gpus * (1800.0 + ranks - 1) / 3600));
  CHECK(bill.joules.size() == 2);
  CHECK(bill.joules.at("processors") == 2500);
  CHECK(bill.joules.at("gpus") == 101.0 * (ranks / 2) + 100.0 * (ranks % 2));
  const Json json = bill.json();
  CHECK(json["gpu_hours"] == bill.gpu_hours());
  CHECK(json["joules"]["processors"] == 2500);
}

TEST_CASE("a bill on CPUs whose energy nobody tells has neither", "[bill]") {
  const Bill bill = bill_of(Communicator::world(), {.seconds = 36, .gpu = {}, .joules = {}});
  CHECK(bill.gpus == 0);
  CHECK(!bill.json().contains("gpus"));
  CHECK(!bill.json().contains("joules"));
}

TEST_CASE("a bill's line says hours, nodes and energy", "[bill]") {
  Bill bill{.seconds = 5400, .nodes = 4, .ranks = 16, .gpus = 0, .joules = {}};
  CHECK(bill.text() == "6 node-hours: 01:30:00 on 4 nodes, 16 ranks; this machine does not tell its energy");
  bill.gpus = 16;
  bill.joules = {{"gpus", 7.2e6}, {"node", 950}};
  CHECK(bill.text() ==
        "6 node-hours and 24 GPU-hours: 01:30:00 on 4 nodes, 16 ranks, 16 GPUs; energy: 7.2 MJ (2 kWh) of "
        "gpus, "
        "950 J of whole nodes");
  CHECK(human_energy(12345) == "12.3 kJ");
}
