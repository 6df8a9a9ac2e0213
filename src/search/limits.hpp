#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <galapagos/search/budget.hpp>

namespace galapagos {

/// An assignment under limits, of which there may be several, and under which a further level may cost more.
/// A module is made smaller to the next level that brings what is exceeded down, and larger to the next that
/// keeps all limits.
class Limits {
 public:
  Limits(const Budget& budget, Assignment& assignment) : rules_(budget.rules()), assignment_(assignment) {
    for (const BudgetRule& rule : rules_) sums_.push_back(rule.cost(assignment));
  }

  std::size_t size() const { return assignment_.size(); }
  bool kept() const { return exceeded_at(0, assignment_[0]) == 0; }
  void put(std::size_t i, std::int16_t level) {
    for (std::size_t r = 0; r < rules_.size(); ++r) sums_[r] = sum_at(r, i, level);
    assignment_[i] = level;
  }
  std::optional<std::int16_t> smaller(std::size_t i) const {
    const double now = exceeded_at(i, assignment_[i]);
    const std::size_t levels = rules_.front().costs[i].size();
    for (std::size_t level = static_cast<std::size_t>(assignment_[i]) + 1; level < levels; ++level) {
      const auto to = static_cast<std::int16_t>(level);
      if (exceeded_at(i, to) < now) return to;
    }
    return std::nullopt;
  }
  std::optional<std::int16_t> larger(std::size_t i) const {
    for (std::int16_t level = assignment_[i]; level-- > 0;)
      if (exceeded_at(i, level) == 0) return level;
    return std::nullopt;
  }

 private:
  /// What rule r sums up to with module i at a level.
  std::int64_t sum_at(std::size_t r, std::size_t i, std::int16_t level) const {
    const std::vector<std::int64_t>& costs = rules_[r].costs[i];
    return sums_[r] + costs[static_cast<std::size_t>(level)] -
           costs[static_cast<std::size_t>(assignment_[i])];
  }
  /// By how much limits are exceeded then, as shares of them.
  double exceeded_at(std::size_t i, std::int16_t level) const {
    double sum = 0;
    for (std::size_t r = 0; r < rules_.size(); ++r) {
      const std::int64_t over = std::max<std::int64_t>(sum_at(r, i, level) - rules_[r].limit, 0);
      sum += static_cast<double>(over) / static_cast<double>(std::max<std::int64_t>(rules_[r].limit, 1));
    }
    return sum;
  }

  const std::vector<BudgetRule>& rules_;
  Assignment& assignment_;
  std::vector<std::int64_t> sums_;
};

}  // namespace galapagos
