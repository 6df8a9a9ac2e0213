#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <galapagos/search/limited_class.hpp>

// What knapsack_within() solves, in its own terms.
namespace galapagos {

using TakenChoices = std::vector<std::int16_t>;
using LimitPrices = std::vector<double>;

/// The problem with its limits scaled to about 1.
class LimitedProblem {
 public:
  LimitedProblem(std::span<const LimitedClass> classes, std::span<const std::int64_t> limits)
      : classes_(classes), limits_(limits) {
    for (const std::int64_t limit : limits)
      scales_.push_back(1 / static_cast<double>(std::max<std::int64_t>(limit, 1)));
  }

  std::size_t size() const { return classes_.size(); }
  std::size_t limits() const { return limits_.size(); }
  std::size_t choices(std::size_t i) const { return classes_[i].losses.size(); }
  double loss(std::size_t i, std::size_t choice) const { return classes_[i].losses[choice]; }
  std::int64_t cost(std::size_t i, std::size_t limit, std::size_t choice) const {
    return classes_[i].costs[limit][choice];
  }
  double scaled(std::size_t limit, std::int64_t cost) const {
    return static_cast<double>(cost) * scales_[limit];
  }
  std::int64_t limit(std::size_t limit) const { return limits_[limit]; }

  double loss(const TakenChoices& taken) const {
    double sum = 0;
    for (std::size_t i = size(); i-- > 0;) sum += loss(i, static_cast<std::size_t>(taken[i]));
    return sum;
  }
  std::vector<std::int64_t> costs(const TakenChoices& taken) const {
    std::vector<std::int64_t> sums(limits(), 0);
    for (std::size_t i = 0; i < size(); ++i)
      for (std::size_t limit = 0; limit < limits(); ++limit)
        sums[limit] += cost(i, limit, static_cast<std::size_t>(taken[i]));
    return sums;
  }
  bool fits(const std::vector<std::int64_t>& sums) const {
    for (std::size_t limit = 0; limit < limits(); ++limit)
      if (sums[limit] > limits_[limit]) return false;
    return true;
  }
  /// By how much the limits are exceeded, as shares of them.
  double excess(const std::vector<std::int64_t>& sums) const {
    double sum = 0;
    for (std::size_t limit = 0; limit < limits(); ++limit)
      sum += scaled(limit, std::max<std::int64_t>(sums[limit] - limits_[limit], 0));
    return sum;
  }

  /// What a choice loses and costs at prices, but for the limit `without`.
  double priced(std::size_t i, std::size_t choice, const LimitPrices& prices, std::size_t without) const {
    double value = loss(i, choice);
    for (std::size_t limit = 0; limit < limits(); ++limit)
      if (limit != without) value += prices[limit] * scaled(limit, cost(i, limit, choice));
    return value;
  }

  struct Relaxed {
    TakenChoices taken;
    double bound = 0;
  };
  /// Every class by itself.
  Relaxed relax(const LimitPrices& prices) const {
    Relaxed found;
    for (std::size_t i = 0; i < size(); ++i) {
      std::size_t best = 0;
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t choice = 0; choice < choices(i); ++choice) {
        const double value = priced(i, choice, prices, limits());
        if (value < least) {
          least = value;
          best = choice;
        }
      }
      found.taken.push_back(static_cast<std::int16_t>(best));
      found.bound += least;
    }
    for (std::size_t limit = 0; limit < limits(); ++limit) found.bound -= price_of(limit, prices);
    return found;
  }
  double price_of(std::size_t limit, const LimitPrices& prices) const {
    return prices[limit] * scaled(limit, limits_[limit]);
  }
  /// Greater than any difference of losses.
  double spread() const {
    double sum = 0;
    for (const LimitedClass& one : classes_) {
      const auto [least, most] = std::minmax_element(one.losses.begin(), one.losses.end());
      sum += *most - *least;
    }
    return sum > 0 ? sum : 1;
  }

 private:
  std::span<const LimitedClass> classes_;
  std::span<const std::int64_t> limits_;
  std::vector<double> scales_;
};

}  // namespace galapagos
