#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/search/space.hpp>

namespace galapagos {

/// An assignment and what it was measured to lose, nats per token.
struct Measurement {
  Assignment assignment;
  double loss = 0;
};

/// What an assignment loses, learned from measurements: the sum of its levels' end losses, and a correction
/// by ridge regression that gives every module a factor of its own and every two neighbouring modules
/// (attention and feed-forward part of a layer, feed-forward part and the next layer's attention) a multiple
/// of the product of theirs. The constant is not penalised.
class Surrogate {
 public:
  /// Measurements that are not finite are passed over; without any there is no correction. `ridge` is that of
  /// features in units of the root mean square of all end losses; where it is not given, the one of a grid
  /// with the least squared error of measurements left out. The space has to have end losses.
  Surrogate(const SearchSpace& space, std::span<const Measurement> archive,
            std::optional<double> ridge = std::nullopt);

  double loss(const Assignment& assignment) const;
  /// The loss of each finite measurement of the archive, learned from all others.
  const std::vector<double>& left_out() const { return left_out_; }
  /// Spearman's rank correlation of these with what was measured; NaN where nothing can be ranked.
  double left_out_correlation() const { return left_out_correlation_; }
  double ridge() const { return ridge_; }

 private:
  double sum(const Assignment& assignment) const;
  std::vector<double> features(const Assignment& assignment) const;

  std::vector<std::vector<double>> end_losses_;  // of each module by level
  double scale_ = 1;
  double ridge_ = 0;
  double constant_ = 0;
  std::vector<double> weights_;  // of the modules, then of the pairs
  std::vector<double> left_out_;
  double left_out_correlation_ = 0;
};

}  // namespace galapagos
