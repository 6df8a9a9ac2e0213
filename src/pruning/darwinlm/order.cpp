#include "order.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos::darwinlm {
namespace {

/// The same, of what is zero at a level and at all later ones.
ZeroStructures lasting(ZeroStructures zero) {
  for (std::size_t level = zero.size(); level-- > 1;) {
    for (std::size_t i = 0; i < zero[level].size(); ++i)
      zero[level - 1][i] = zero[level - 1][i] && zero[level][i];
  }
  return zero;
}

}  // namespace

std::vector<std::int64_t> lasting_zeros(const ZeroStructures& zero) {
  std::vector<std::int64_t> counts = {0};
  for (const std::vector<bool>& level : lasting(zero))
    counts.push_back(std::count(level.begin(), level.end(), true));
  return counts;
}

RemovalOrder removal_order(const ZeroStructures& zero, std::span<const std::int64_t> removed,
                           const std::string& where) {
  const ZeroStructures nested = lasting(zero);
  std::vector<bool> gone(nested.front().size(), false);
  RemovalOrder order;
  for (std::size_t level = 1; level < removed.size(); ++level) {
    const std::vector<bool>& zeros = nested[level - 1];
    const std::int64_t there = std::count(zeros.begin(), zeros.end(), true);
    if (there < removed[level]) {
      throw InputError(fmt::format("level {} removes {} structures, but only {} are zero there and at all "
                                   "later levels",
                                   level, removed[level], there),
                       where, "give a whole database of DarwinLM with its own metadata.pth");
    }
    // What is zero though it is kept was zero before anything was removed: inputs that are dead go first.
    if (there > removed[level]) {
      for (std::size_t i = 0; i < zeros.size(); ++i) {
        if (!zeros[i] || nested.front()[i]) continue;
        throw InputError(fmt::format("level {} removes {} structures, but {} are zero there", level,
                                     removed[level], there),
                         where, "give a whole database of DarwinLM with its own metadata.pth");
      }
    }
    order.kept_zeros += there - removed[level];
    for (std::size_t i = 0; std::ssize(order.structures) < removed[level]; ++i) {
      if (!zeros[i] || gone[i]) continue;
      gone[i] = true;
      order.structures.push_back(static_cast<std::int32_t>(i));
    }
  }
  return order;
}

}  // namespace galapagos::darwinlm
