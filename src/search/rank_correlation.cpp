#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <galapagos/search/rank_correlation.hpp>

namespace galapagos {
namespace {

/// Ranks from 0, less their mean.
std::vector<double> centred_ranks(std::span<const double> given) {
  std::vector<double> values(given.begin(), given.end());
  for (double& value : values) {
    if (std::isnan(value)) value = std::numeric_limits<double>::infinity();
  }
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  const double mean = (static_cast<double>(values.size()) - 1) / 2;
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && values[order[last + 1]] == values[order[first]]) ++last;
    const double rank = static_cast<double>(first + last) / 2 - mean;
    for (; first <= last; ++first) ranks[order[first]] = rank;
  }
  return ranks;
}

}  // namespace

RankSums& RankSums::operator+=(const RankSums& other) {
  both += other.both;
  first += other.first;
  second += other.second;
  count += other.count;
  return *this;
}

double RankSums::correlation() const {
  if (first == 0 || second == 0) return std::numeric_limits<double>::quiet_NaN();
  return both / std::sqrt(first * second);
}

RankSums rank_sums(std::span<const double> first, std::span<const double> second) {
  const std::vector<double> a = centred_ranks(first), b = centred_ranks(second);
  RankSums sums;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sums += {a[i] * b[i], a[i] * a[i], b[i] * b[i], 1};
  }
  return sums;
}

}  // namespace galapagos
