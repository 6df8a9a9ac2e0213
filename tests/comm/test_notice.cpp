#include "support/catch.hpp"

#include <galapagos/comm/notice.hpp>

using namespace galapagos;

TEST_CASE("the root learns of a notice while the others go on", "[notice]") {
  const Communicator world = Communicator::world();
  for (int giver = -1; giver < world.size(); ++giver) {  // -1: nobody
    Notice notice(world);
    if (world.is_root()) CHECK(!notice.given());
    world.barrier();
    if (world.rank() == giver) {
      notice.give();
      notice.give();
    }
    if (world.is_root() && giver >= 0) {
      while (!notice.given()) {
      }
    }
    if (giver < 0 && world.is_root()) CHECK(!notice.given());
    notice.settle();
  }
}

TEST_CASE("notices of all that nobody has looked for are settled", "[notice]") {
  const Communicator world = Communicator::world();
  Notice notice(world);
  notice.give();
  notice.settle();
  if (world.is_root()) CHECK(notice.given());
}
