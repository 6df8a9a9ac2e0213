#include "support/catch.hpp"

#include <new>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/asleep.hpp>
#include <galapagos/comm/failure_board.hpp>

using namespace galapagos;

namespace {

struct Outcome {
  bool own = false;        // this rank's own error, to be printed
  bool elsewhere = false;  // another's
  int code = 0;
};

template <typename Work>
Outcome outcome_of(Work&& work) {
  Outcome outcome;
  try {
    work();
  } catch (const FailedElsewhere& error) {
    outcome.elsewhere = true;
    outcome.code = static_cast<int>(error.code());
    CHECK(error.agreed());
  } catch (const Error& error) {
    outcome.own = true;
    outcome.code = static_cast<int>(error.code());
    CHECK(error.agreed());
  }
  return outcome;
}

}  // namespace

TEST_CASE("an error on any rank ends all, and one rank prints it", "[agree]") {
  const Communicator world = Communicator::world();
  CHECK_NOTHROW(agree(world, [] {}));
  CHECK(agree_on(world, [] { return 5; }) == 5);
  for (int loser = 0; loser < world.size(); ++loser) {
    const Outcome outcome = outcome_of([&] {
      agree(world, [&] {
        if (world.rank() >= loser) throw NumericalError("x", "y", "z");
      });
    });
    CHECK(outcome.own == (world.rank() == loser));
    CHECK(outcome.elsewhere == (world.rank() != loser));
    CHECK(outcome.code == 5);
  }
  const Outcome memory = outcome_of([&] { agree_at_root(world, [] { throw std::bad_alloc(); }); });
  CHECK(memory.code == 4);
  CHECK(memory.own == world.is_root());
}

TEST_CASE("work at the root while the others sleep is agreed on, too", "[agree]") {
  const Communicator world = Communicator::world();
  int done = 0;
  for (int i = 0; i < 3; ++i) CHECK_NOTHROW(agree_at_root_asleep(world, [&] { ++done; }));
  CHECK(done == (world.is_root() ? 3 : 0));
  const Outcome outcome =
      outcome_of([&] { agree_at_root_asleep(world, [] { throw InputError("x", "y", "z"); }); });
  CHECK(outcome.code == 3);
  CHECK(outcome.own == world.is_root());
  CHECK(outcome.elsewhere == !world.is_root());
}

TEST_CASE("a failure board tells the others and settles", "[agree]") {
  const Communicator world = Communicator::world();
  {
    FailureBoard board(world);
    int done = 0;
    board.attempt([&] { ++done; });
    CHECK(done == 1);
    CHECK(!board.failed());
    CHECK_NOTHROW(board.settle());
  }
  FailureBoard board(world);
  const int loser = world.size() - 1;
  if (world.rank() == loser) board.attempt([] { throw InputError("x", "y", "z"); });
  // The others work until they hear of it.
  while (!board.failed()) {
  }
  int done = 0;
  board.attempt([&] { ++done; });
  CHECK(done == 0);
  const Outcome outcome = outcome_of([&] { board.settle(); });
  CHECK(outcome.own == (world.rank() == loser));
  CHECK(outcome.code == 3);
}

TEST_CASE("who only knows of another's failure leaves the word to that one", "[agree]") {
  const Communicator world = Communicator::world();
  for (int loser = 0; loser < world.size(); ++loser) {
    const Outcome outcome = outcome_of([&] {
      agree(world, [&] {
        if (world.rank() == loser) throw InputError("x", "y", "z");
        throw FailedElsewhere(ExitCode::numerical, loser);
      });
    });
    CHECK(outcome.own == (world.rank() == loser));
    CHECK(outcome.code == 3);
  }
  const Outcome nobody =
      outcome_of([&] { agree(world, [&] { throw FailedElsewhere(ExitCode::numerical, 7); }); });
  CHECK(nobody.elsewhere);
  CHECK(nobody.code == 5);
}

TEST_CASE("what ranks have agreed on gets out of work that else ends all of them", "[agree]") {
  const Communicator world = Communicator::world();
  const Outcome outcome = outcome_of(
      [&] { run_or_abort([&] { agree_at_root(world, [] { throw InputError("x", "y", "z"); }); }); });
  CHECK(outcome.own == world.is_root());
  CHECK(outcome.code == 3);
}
