#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>

namespace galapagos {

/// One rule of a budget: what the levels of some modules cost in all, module by module.
struct BudgetRule {
  std::string unit;                              ///< of the costs, as messages call it
  std::vector<std::size_t> modules;              ///< ascending
  std::vector<std::vector<std::int64_t>> costs;  ///< of each of them at levels 0, 1, ..., which never rise
  std::int64_t limit = 0;
  bool exact = false;  ///< costs are the levels' numbers and have to sum up to the limit

  std::int64_t cost(const Assignment& assignment) const;
  bool met_by(std::int64_t cost) const { return exact ? cost == limit : cost <= limit; }
};

/// What every assignment of a search has in common: rules, of which each module is under one.
class Budget {
 public:
  explicit Budget(std::vector<BudgetRule> rules) : rules_(std::move(rules)) {}
  /// The sum of levels over the modules of each kind is that of `level` everywhere (DarwinLM). UsageError
  /// where a kind has no such level, or nothing could be exchanged.
  static Budget of_level(const SearchSpace& space, std::int64_t level);
  /// At most so many parameters of the whole model. UsageError, saying what can be met, where no assignment
  /// meets it or the unpruned model does.
  static Budget of_parameters(const SearchSpace& space, std::int64_t parameters);

  const std::vector<BudgetRule>& rules() const { return rules_; }
  std::size_t modules() const;
  bool met_by(const Assignment& assignment) const;
  /// The most even assignment: the same level everywhere, or the same share of every module's cost.
  Assignment uniform() const;

 private:
  std::vector<BudgetRule> rules_;
};

}  // namespace galapagos
