#pragma once

#include <cstdint>
#include <span>

namespace galapagos {

/// What Spearman's rank correlation of two series is made of: sums of products of their ranks less the mean
/// rank. The sums of several pairs of series, ranked each by itself, may be added up.
struct RankSums {
  double both = 0;         ///< first times second
  double first = 0;        ///< squared
  double second = 0;       ///< squared
  std::int64_t count = 0;  ///< of pairs

  RankSums& operator+=(const RankSums& other);
  /// Between -1 and 1; NaN where all of a series are alike.
  double correlation() const;
  bool operator==(const RankSums&) const = default;
};

/// Of two series of the same length. What is equal has the mean of its ranks; NaN counts as the greatest.
RankSums rank_sums(std::span<const double> first, std::span<const double> second);

}  // namespace galapagos
