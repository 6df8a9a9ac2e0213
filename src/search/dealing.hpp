#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/assignment/space.hpp>

namespace galapagos {

/// Which ranks evolve which islands. Ranks are dealt evenly and in order, so that neighbours work together.
struct Dealing {
  int group = 0;  ///< ranks of one group share islands and evaluations
  std::vector<std::int64_t> islands;

  Dealing(int rank, int ranks, std::int64_t count);
  /// Ranks of the group that has the fewest.
  static int smallest_group(int ranks, std::int64_t islands);
};

/// Candidates of a stage that a rank measures in one call, where so many are left for so many ranks: half of
/// an even share, so that a slow chunk that was begun early does not end last. One rank takes all.
std::int64_t chunk_size(std::int64_t left, int ranks);

/// Places of candidates in order of their first difference to the base, cut into chunks of chunk_size(), of
/// which whoever is free takes the next; of one candidate, where those of a chunk would share no work.
std::vector<std::vector<std::size_t>> make_chunks(std::span<const Assignment> candidates,
                                                  const Assignment& base, int ranks, bool one_each);

}  // namespace galapagos
