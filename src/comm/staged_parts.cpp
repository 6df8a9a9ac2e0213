#include "staged_parts.hpp"

#include "mpi_check.hpp"
#include "rounds.hpp"

#include <algorithm>

namespace galapagos {
namespace {

const std::byte* bytes_at(const float* values, std::uint64_t index) {
  return reinterpret_cast<const std::byte*>(values + index);
}

}  // namespace

void sum_to_owners(const Communicator& ranks, Staging& staging, float* values,
                   std::span<const std::uint64_t> bounds) {
  const auto me = static_cast<std::size_t>(ranks.rank());
  Rounds rounds(bounds, staging.piece());
  int place = 0;
  staging.begin();
  for (; rounds.next(); place = (place + 1) % Staging::places) {
    const auto bytes = [&](std::size_t r) {
      return static_cast<std::size_t>(rounds.counts[r]) * sizeof(float);
    };
    for (std::size_t r = 0; r < rounds.ranks(); ++r) {
      staging.copy_down(bytes_at(values, rounds.in_all(r)), place,
                        static_cast<std::size_t>(rounds.starts[r]) * sizeof(float), bytes(r));
    }
    staging.wait_down(place);
    // The sum of this rank's piece comes to the beginning.
    GALAPAGOS_MPI(MPI_Reduce_scatter(MPI_IN_PLACE, staging.host(place), rounds.counts.data(), MPI_FLOAT,
                                     MPI_SUM, ranks.handle()));
    staging.copy_up(place, 0, reinterpret_cast<std::byte*>(values + rounds.in_all(me)), bytes(me));
  }
  staging.end();
}

void all_gather_parts(const Communicator& ranks, Staging& staging, std::span<const GatheredPart> parts) {
  const int root = only_owner(parts);
  PartRounds rounds(parts, ranks.size(), staging.piece() * sizeof(float));
  int place = 0;
  staging.begin();
  for (; rounds.next(); place = (place + 1) % Staging::places) {
    const std::vector<int>&counts = rounds.rounds().counts, &starts = rounds.rounds().starts;
    staging.copy_down(nullptr, place, 0, 0);  // waited for also where this rank has nothing to give
    rounds.visit(ranks.rank(), [&](std::byte* data, std::size_t at, std::size_t bytes) {
      staging.copy_down(data, place, at, bytes);
    });
    staging.wait_down(place);
    if (root >= 0) {
      GALAPAGOS_MPI(MPI_Bcast(staging.host(place), counts[static_cast<std::size_t>(root)], MPI_BYTE, root,
                              ranks.handle()));
    } else {
      GALAPAGOS_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, staging.host(place), counts.data(),
                                   starts.data(), MPI_BYTE, ranks.handle()));
    }
    for (int owner = 0; owner < ranks.size(); ++owner) {
      if (owner == ranks.rank()) continue;
      rounds.visit(owner, [&](std::byte* data, std::size_t at, std::size_t bytes) {
        staging.copy_up(place, at, data, bytes);
      });
    }
  }
  staging.end();
}

void send(const Communicator& ranks, Staging& staging, const std::byte* data, std::size_t bytes, int to) {
  const std::size_t room = staging.piece() * sizeof(float);
  const auto down = [&](std::size_t at, int place) {
    if (at < bytes) staging.copy_down(data + at, place, 0, std::min(room, bytes - at));
  };
  int place = 0;
  staging.begin();
  down(0, place);
  for (std::size_t at = 0; at < bytes; at += room) {
    staging.wait_down(place);
    const int next = (place + 1) % Staging::places;
    down(at + room, next);  // while this one is sent
    const auto* const part = reinterpret_cast<const std::byte*>(staging.host(place));
    ranks.send(std::span(part, std::min(room, bytes - at)), to, message_tag);
    place = next;
  }
  staging.end();
}

void receive(const Communicator& ranks, Staging& staging, std::byte* data, std::size_t bytes, int from) {
  const std::size_t room = staging.piece() * sizeof(float);
  int place = 0;
  staging.begin();
  for (std::size_t at = 0; at < bytes; at += room, place = (place + 1) % Staging::places) {
    const std::size_t length = std::min(room, bytes - at);
    auto* const part = reinterpret_cast<std::byte*>(staging.host(place));
    staging.copy_down(nullptr, place, 0, 0);  // until what came here before has gone up
    staging.wait_down(place);
    ranks.receive(std::span(part, length), from, message_tag);
    staging.copy_up(place, 0, data + at, length);
  }
  staging.end();
}

}  // namespace galapagos
