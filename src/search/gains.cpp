#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include <galapagos/search/gains.hpp>

namespace galapagos {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
// Candidates before whose number nothing is said, and as many of all ways that stand beside those of one.
constexpr double enough = 4;
// True differences are taken to vary by this share at least of what measured ones vary by.
constexpr double least_share = 0.1;
// As an incumbent gets better, what was gained long ago says little.
constexpr std::size_t most_gains = 256;

double density(double z) {
  return std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
}

double below(double z) {
  return std::erfc(-z / std::numbers::sqrt2) / 2;
}

}  // namespace

double GainBelief::better() const {
  if (std::isinf(variance)) return 0.5;
  if (!(variance > 0)) return mean < 0 ? 1 : mean > 0 ? 0 : 0.5;
  return below(-mean / std::sqrt(variance));
}

double GainBelief::expected_improvement() const {
  if (std::isinf(variance)) return infinity;
  if (!(variance > 0)) return std::max(0.0, -mean);
  const double deviation = std::sqrt(variance), z = mean / deviation;
  return deviation * density(z) - mean * below(-z);
}

GainBelief GainBelief::after(double measured, double measured_variance) const {
  if (!std::isfinite(measured_variance)) return *this;
  if (std::isinf(variance)) return {measured, measured_variance};
  const double sum = variance + measured_variance;
  if (!(sum > 0)) return {measured, 0};
  return {(mean * measured_variance + measured * variance) / sum, variance * measured_variance / sum};
}

void Gains::add(Origin way, double lost, double variance, double expected) {
  if (!std::isfinite(lost) || !std::isfinite(variance) || !std::isfinite(expected)) return;
  gains_.push_back({way, lost, variance, expected});
  if (gains_.size() > most_gains) gains_.pop_front();
  std::vector<double> sizes;
  for (const Gain& gain : gains_) sizes.push_back(std::abs(gain.lost));
  const auto middle = sizes.begin() + std::ssize(sizes) / 2;
  std::nth_element(sizes.begin(), middle, sizes.end());
  most_ = 3 * *middle;
}

template <typename Wanted>
Gains::Moments Gains::moments(const Wanted& wanted) const {
  Moments sums;
  for (const Gain& gain : gains_) {
    if (!wanted(gain)) continue;
    const double lost = std::clamp(gain.lost, -most_, most_),
                 expected = std::clamp(gain.expected, -most_, most_);
    ++sums.count;
    sums.lost += lost;
    sums.squares += lost * lost;
    sums.noise += std::min(gain.variance, most_ * most_);
    sums.expected += expected;
    sums.expected_squares += expected * expected;
    sums.products += expected * lost;
  }
  return sums;
}

GainBelief Gains::prior(Origin way, std::optional<double> expected) const {
  const Moments all = moments([](const Gain&) { return true; });
  if (all.count < enough) return {0, infinity};
  const double mean = all.lost / all.count, mean_expected = all.expected / all.count;
  const double variance = std::max(0.0, (all.squares - all.lost * mean) / (all.count - 1));
  const double spread = std::max(variance - all.noise / all.count, least_share * variance);
  const Moments own = moments([&](const Gain& gain) { return gain.way == way; });
  GainBelief belief;
  belief.mean = (own.lost + enough * mean) / (own.count + enough);
  const double around =
      own.squares - 2 * own.lost * belief.mean + own.count * belief.mean * belief.mean - own.noise;
  belief.variance = std::max((around + enough * spread) / (own.count + enough), least_share * spread);
  if (!expected) return belief;
  // What expectations have been worth, by least squares over all ways, on the safe side of nothing and all.
  const double squares = all.expected_squares - all.expected * mean_expected;
  if (!(squares > 0)) return belief;
  const double slope =
      std::clamp((all.products - all.lost * mean_expected) / (squares * (1 + enough / all.count)), 0.0, 1.0);
  const double usual = (own.expected + enough * mean_expected) / (own.count + enough);
  belief.mean += slope * (std::clamp(*expected, -most_, most_) - usual);
  return belief;
}

}  // namespace galapagos
