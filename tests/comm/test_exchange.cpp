#include "support/catch.hpp"

#include <chrono>
#include <cstring>
#include <thread>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/exchange.hpp>
#include <galapagos/comm/node_buffer.hpp>

using namespace galapagos;

namespace {

std::span<const std::byte> bytes_of(const std::vector<std::int32_t>& values) {
  return std::as_bytes(std::span(values));
}

std::vector<std::int32_t> numbers_from(const Exchange& exchange, int rank) {
  const std::span<const std::byte> bytes = exchange.from(rank);
  std::vector<std::int32_t> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), values.size() * 4);
  return values;
}

// Ranks come to things at different times, and at other ones in each round.
void be_late(int rank, int round) {
  std::this_thread::sleep_for(std::chrono::microseconds((rank * 7 + round * 5) % 11 * 200));
}

// The exit code that a board settles with, 0 where nobody has failed.
int settled(FailureBoard& board) {
  try {
    board.settle();
    return 0;
  } catch (const Error& error) {
    CHECK(error.agreed());
    return static_cast<int>(error.code());
  }
}

}  // namespace

TEST_CASE("exchanges bring everybody's bytes to everybody, round after round", "[exchange]") {
  const Communicator world = Communicator::world();
  FailureBoard board(world);
  Exchange exchange(world, 3 * sizeof(std::int32_t));
  CHECK(!exchange.pending());
  CHECK(exchange.wait(board));  // nothing to wait for
  bool right = true;
  for (int round = 0; round < 40; ++round) {
    be_late(world.rank(), round);
    // Rank r gives round mod 4 numbers, but at most 3; the rest is zero.
    std::vector<std::int32_t> mine;
    for (int i = 0; i < std::min((world.rank() + round) % 5, 3); ++i)
      mine.push_back(1000 * round + 10 * world.rank() + i + 1);
    exchange.start(bytes_of(mine));
    mine.assign(mine.size(), -1);  // the caller's bytes are his own again
    right = right && exchange.pending();
    if (round % 3 == 0) be_late(world.rank() + 1, round);
    while (round % 4 == 0 && !exchange.done()) {
    }
    right = right && exchange.wait(board) && !exchange.pending();
    for (int rank = 0; rank < world.size(); ++rank) {
      std::vector<std::int32_t> expected;
      for (int i = 0; i < 3; ++i)
        expected.push_back(i < std::min((rank + round) % 5, 3) ? 1000 * round + 10 * rank + i + 1 : 0);
      right = right && numbers_from(exchange, rank) == expected;
    }
  }
  CHECK(right);
  exchange.start(bytes_of({world.rank()}));
  CHECK(exchange.abandon());
  CHECK(!exchange.pending());
  for (int rank = 0; rank < world.size(); ++rank) CHECK(numbers_from(exchange, rank)[0] == rank);
  CHECK(settled(board) == 0);
}

TEST_CASE("an exchange of no bytes", "[exchange]") {
  const Communicator world = Communicator::world();
  FailureBoard board(world);
  Exchange exchange(world, 0);
  exchange.start({});
  CHECK(exchange.wait(board));
  exchange.abandon();
  CHECK(settled(board) == 0);
}

TEST_CASE("two exchanges at once do not mix", "[exchange]") {
  const Communicator world = Communicator::world();
  FailureBoard board(world);
  Exchange first(world, 4), second(world, 4);
  bool right = true;
  for (std::int32_t round = 0; round < 10; ++round) {
    Exchange &one = world.rank() % 2 == 0 ? first : second, &other = world.rank() % 2 == 0 ? second : first;
    one.start(bytes_of({&one == &first ? round : -round}));
    other.start(bytes_of({&other == &first ? round : -round}));
    right = right && second.wait(board) && first.wait(board);
    for (int rank = 0; rank < world.size(); ++rank) {
      right = right && numbers_from(first, rank).front() == round;
      right = right && numbers_from(second, rank).front() == -round;
    }
  }
  CHECK(right);
  first.abandon();
  second.abandon();
  CHECK(settled(board) == 0);
}

TEST_CASE("a failing rank leaves no one waiting", "[exchange]") {
  const Communicator world = Communicator::world();
  for (int loser = 0; loser < world.size(); ++loser) {
    for (int last = 0; last < 4; ++last) {
      FailureBoard board(world);
      Exchange exchange(world, 4);
      int complete = 0;
      for (int round = 0; round < 4; ++round) {
        be_late(world.rank(), round + loser);
        if (world.rank() == loser && round == last)
          board.attempt([] { throw NumericalError("x", "y", "z"); });
        if (board.failed()) break;
        exchange.start(bytes_of({round}));
        if (!exchange.wait(board)) break;
        ++complete;
      }
      // Nobody can complete a round that the loser has not begun.
      CHECK(complete <= last);
      exchange.abandon();
      CHECK(!exchange.pending());
      CHECK(settled(board) == static_cast<int>(ExitCode::numerical));
    }
  }
}

TEST_CASE("ranks that are rounds apart come to the same end", "[exchange]") {
  const Communicator world = Communicator::world();
  for (int ahead = 0; ahead < world.size(); ++ahead) {
    Exchange exchange(world, 8);
    FailureBoard board(world);
    exchange.start(bytes_of({world.rank() + 1, ahead}));
    CHECK(exchange.wait(board));
    if (world.rank() == ahead) exchange.start(bytes_of({1, 2}));
    be_late(world.rank(), ahead);
    const bool whole = exchange.abandon();
    CHECK(!exchange.pending());
    CHECK(exchange.done());
    // Those that were not ahead still have the last round that all had begun.
    CHECK(whole == (world.rank() != ahead || world.size() == 1));
    for (int rank = 0; rank < world.size() && world.rank() != ahead; ++rank)
      CHECK(numbers_from(exchange, rank) == std::vector<std::int32_t>{rank + 1, ahead});
    // It can be gone on with.
    exchange.start(bytes_of({world.rank(), 5}));
    CHECK(exchange.wait(board));
    for (int rank = 0; rank < world.size(); ++rank)
      CHECK(numbers_from(exchange, rank) == std::vector<std::int32_t>{rank, 5});
    CHECK(settled(board) == 0);
  }
}

TEST_CASE("a node's ranks share one buffer", "[node_buffer]") {
  const Communicator world = Communicator::world();
  const Communicator node = world.split_node();
  const auto ranks = static_cast<std::size_t>(node.size()), rank = static_cast<std::size_t>(node.rank());
  for (const std::size_t each : {std::size_t{1}, std::size_t{1000}, std::size_t{3} << 20}) {
    NodeBuffer buffer(node, each * ranks);
    CHECK(buffer.bytes().size() == each * ranks);
    for (int round = 1; round <= 3; ++round) {
      const auto value = [&](std::size_t of) {
        return static_cast<std::byte>(16 * round + static_cast<int>(of));
      };
      be_late(world.rank(), round);
      std::memset(buffer.bytes().data() + rank * each, static_cast<int>(value(rank)), each);
      buffer.synchronise(node);
      bool seen = true;
      for (std::size_t of = 0; of < ranks; ++of) {
        const auto part = buffer.bytes().subspan(of * each, each);
        seen = seen && std::all_of(part.begin(), part.end(), [&](std::byte b) { return b == value(of); });
      }
      CHECK(seen);
      buffer.synchronise(node);  // before anybody writes again
    }
  }
}

TEST_CASE("a node buffer can be moved, empty and replaced", "[node_buffer]") {
  const Communicator node = Communicator::world().split_node();
  NodeBuffer none;
  CHECK(none.bytes().empty());
  NodeBuffer empty(node, 0);
  CHECK(empty.bytes().empty());
  NodeBuffer first(node, 64);
  if (node.is_root()) first.bytes()[63] = std::byte{7};
  first.synchronise(node);
  NodeBuffer second(std::move(first));
  CHECK(second.bytes().size() == 64);
  CHECK(second.bytes()[63] == std::byte{7});
  none = std::move(second);
  CHECK(none.bytes()[63] == std::byte{7});
  none = NodeBuffer(node, 8);
  CHECK(none.bytes().size() == 8);
}
