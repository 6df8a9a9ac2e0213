#include "support/catch.hpp"

#include <cstring>
#include <map>

#include <galapagos/comm/announcements.hpp>

using namespace galapagos;

namespace {

struct Word {
  int from = 0, number = 0;
};

std::vector<std::byte> message_of(const Word& word) {
  const auto bytes = std::as_bytes(std::span(&word, 1));
  // Of different lengths, also ones that are not sent at once.
  std::vector<std::byte> message(bytes.size() + static_cast<std::size_t>(word.number * word.number) * 700);
  std::memcpy(message.data(), bytes.data(), bytes.size());
  return message;
}

Word word_of(const std::vector<std::byte>& message) {
  Word word;
  std::memcpy(&word, message.data(), sizeof word);
  CHECK(message.size() == message_of(word).size());
  return word;
}

}  // namespace

TEST_CASE("announcements reach all other ranks, each rank's in order, heard early or at the end",
          "[announcements]") {
  const Communicator world = Communicator::world();
  for (int round = 0; round < 3; ++round) {
    Announcements announcements(world);
    std::map<int, int> heard;
    const auto hear = [&](const std::vector<std::byte>& message) {
      const Word word = word_of(message);
      CHECK(word.number == heard[word.from]++);
    };
    const int own = 3 + 5 * world.rank() + round;
    for (int number = 0; number < own; ++number) {
      announcements.tell(message_of({world.rank(), number}));
      if (round == 0) continue;  // hear nothing before the end
      while (const auto message = announcements.next()) hear(*message);
    }
    for (const auto& message : announcements.settle()) hear(message);
    CHECK(heard.count(world.rank()) == 0);
    for (int rank = 0; rank < world.size(); ++rank) {
      if (rank != world.rank()) CHECK(heard[rank] == 3 + 5 * rank + round);
    }
    CHECK(announcements.settle().empty());
  }
}

TEST_CASE("announcements to some reach those alone", "[announcements]") {
  const Communicator world = Communicator::world();
  Announcements announcements(world);
  std::map<int, int> heard;
  const auto hear = [&](const std::vector<std::byte>& message) {
    const Word word = word_of(message);
    CHECK((word.from + word.number) % 3 != world.rank() % 3);
    ++heard[word.from];
  };
  const auto wants = [](int rank, int from, int number) {
    return rank != from && (from + number) % 3 != rank % 3;
  };
  for (int number = 0; number < 9; ++number) {
    std::vector<int> ranks;
    for (int rank = 0; rank < world.size(); ++rank) {
      if (wants(rank, world.rank(), number)) ranks.push_back(rank);
    }
    announcements.tell(message_of({world.rank(), number}), ranks);
    while (const auto message = announcements.next()) hear(*message);
  }
  for (const auto& message : announcements.settle()) hear(message);
  for (int from = 0; from < world.size(); ++from) {
    int wanted = 0;
    for (int number = 0; number < 9; ++number) wanted += wants(world.rank(), from, number) ? 1 : 0;
    CHECK(heard[from] == wanted);
  }
}
