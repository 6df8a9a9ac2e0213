#pragma once

#include <deque>
#include <optional>

#include <galapagos/search/measurements.hpp>

namespace galapagos {

/// What is believed of a candidate's loss beyond another's: a normal distribution, nats per token.
struct GainBelief {
  double mean = 0;
  double variance = 0;  ///< infinite where nothing is known

  /// P(loss < 0).
  double better() const;
  /// E[max(0, -loss)]; infinite where nothing is known.
  double expected_improvement() const;
  /// After a measurement of that variance (normal prior and likelihood).
  GainBelief after(double measured, double measured_variance) const;
};

/// What candidates have lost beyond their incumbent when they were first measured, by how they were bred: the
/// prior for those to come, by moments of the last few. Losses far out, of which there always are some, count
/// as three times the median at most. A way of which little is known is believed to be as all are.
class Gains {
 public:
  /// `expected`: what the surrogate had said of it.
  void add(Origin way, double lost, double variance, double expected);
  /// The prior of a candidate, or of a way as a whole where nothing is expected.
  GainBelief prior(Origin way, std::optional<double> expected = std::nullopt) const;

 private:
  struct Gain {
    Origin way = Origin::mutation;
    double lost = 0, variance = 0, expected = 0;
  };
  /// Moments of some, their losses and expectations cut at +-most.
  struct Moments {
    double count = 0, lost = 0, squares = 0, noise = 0, expected = 0, expected_squares = 0, products = 0;
  };
  template <typename Wanted>
  Moments moments(const Wanted& wanted) const;

  std::deque<Gain> gains_;
  double most_ = 0;
};

}  // namespace galapagos
