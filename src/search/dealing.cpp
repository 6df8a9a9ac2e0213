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

std::int64_t chunk_size(std::int64_t left, int ranks) {
  return ranks == 1 ? left : (left + 2 * ranks - 1) / (2 * ranks);
}

std::vector<std::vector<std::size_t>> make_chunks(std::span<const Assignment> candidates,
                                                  const Assignment& base, int ranks, bool one_each) {
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  const auto depth = [&](std::size_t i) { return first_difference(base, candidates[i]); };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return depth(a) < depth(b); });
  std::vector<std::vector<std::size_t>> chunks;
  for (auto at = order.begin(); at != order.end();) {
    const std::int64_t size = one_each ? 1 : chunk_size(order.end() - at, ranks);
    chunks.emplace_back(at, at + size);
    at += size;
  }
  return chunks;
}

}  // namespace galapagos
