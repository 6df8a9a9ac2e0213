#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/search/space.hpp>

namespace galapagos {

/// Which ranks evolve which islands. Ranks are dealt evenly and in order, so that neighbours work together.
struct Dealing {
  int group = 0;  ///< ranks of one group share islands and evaluations
  std::vector<std::int64_t> islands;

  Dealing(int rank, int ranks, std::int64_t count);
  /// Ranks of the group that has the fewest.
  static int smallest_group(int ranks, std::int64_t islands);
};

/// Places of candidates in order of their first difference to the base, dealt to and fro, so that every rank
/// gets about as many layers to compute.
std::vector<std::size_t> share_of(std::span<const Assignment> candidates, const Assignment& base, int rank,
                                  int ranks);

}  // namespace galapagos
