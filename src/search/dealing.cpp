#include "dealing.hpp"

#include <algorithm>
#include <numeric>

namespace galapagos {

Dealing::Dealing(int rank, int ranks, std::int64_t count) {
  if (ranks >= count) {
    group = static_cast<int>(static_cast<std::int64_t>(rank) * count / ranks);
    islands = {group};
  } else {
    group = rank;
    for (std::int64_t i = 0; i < count; ++i) {
      if (i * ranks / count == rank) islands.push_back(i);
    }
  }
}

int Dealing::smallest_group(int ranks, std::int64_t islands) {
  return ranks >= islands ? static_cast<int>(ranks / islands) : 1;
}

std::vector<std::size_t> share_of(std::span<const Assignment> candidates, const Assignment& base, int rank,
                                  int ranks) {
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  const auto depth = [&](std::size_t i) {
    return std::mismatch(base.begin(), base.end(), candidates[i].begin()).first - base.begin();
  };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return depth(a) < depth(b); });
  std::vector<std::size_t> mine;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto lap = static_cast<int>(i) / ranks, place = static_cast<int>(i) % ranks;
    if ((lap % 2 == 0 ? place : ranks - 1 - place) == rank) mine.push_back(order[i]);
  }
  return mine;
}

}  // namespace galapagos
