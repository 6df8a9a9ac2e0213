#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/model/range.hpp>

namespace galapagos {

/// One rule of a budget: what the levels of some modules cost in all, module by module.
struct BudgetRule {
  std::string unit;                  ///< of the costs, as messages call it; empty where `shown` does
  std::vector<std::size_t> modules;  ///< ascending
  std::vector<std::vector<std::int64_t>> costs;  ///< of each of them at levels 0, 1, ..., 0 or more
  std::int64_t limit = 0;
  bool exact = false;       ///< costs are the levels' numbers and have to sum up to the limit
  std::string option = {};  ///< that asks for it
  std::int64_t fixed = 0;   ///< what no level changes costs besides, which is in no limit
  std::string (*shown)(std::int64_t cost) = nullptr;  ///< for people, where costs are not just counted
  /// Where modules belong to parts together: the first modules of all parts, and the number of modules.
  std::vector<std::size_t> parts = {};
  bool pairs = true;  ///< parts 2 l and 2 l + 1 are a layer's

  std::int64_t cost(const Assignment& assignment) const;
  /// The number of the part of a module, and its modules from the first to behind the last.
  std::size_t part_of(std::size_t module) const;
  Range part(std::size_t number) const;
  bool met_by(std::int64_t cost) const { return exact ? cost == limit : cost <= limit; }
  /// What the whole model costs, for people.
  std::string text(std::int64_t cost) const;
  /// Over all assignments.
  std::int64_t least_cost() const;
  std::int64_t greatest_cost() const;
};

/// What every assignment of a search has in common: exact rules, of which each module is under one, or one
/// limit or several, under each of which all modules are.
class Budget {
 public:
  explicit Budget(std::vector<BudgetRule> rules);
  /// The sum of levels over the modules of each kind is that of `level` everywhere (DarwinLM). UsageError
  /// where a kind has no such level, or nothing could be exchanged.
  static Budget of_level(const SearchSpace& space, std::int64_t level);
  /// At most so many parameters of the whole model. UsageError, saying what can be met, where no assignment
  /// meets it or the unpruned model does.
  static Budget of_parameters(const SearchSpace& space, std::int64_t parameters);
  /// Within limits on all modules, but for those that all assignments keep. UsageError, saying what can be
  /// met, where one cannot be met, where no assignment is found that meets all, or the unpruned model does.
  static Budget within(std::vector<BudgetRule> limits);

  const std::vector<BudgetRule>& rules() const { return rules_; }
  std::size_t modules() const;
  bool met_by(const Assignment& assignment) const;
  /// Whether there are several limits, or one under which a further level may cost more, as measured times
  /// do.
  bool uneven() const { return uneven_; }
  /// The most even assignment: the same level everywhere, or the same share of every module's cost; under
  /// several limits the share of the greatest of its shares.
  Assignment uniform() const;

 private:
  std::vector<BudgetRule> rules_;
  bool uneven_ = false;
};

/// The limit that of_parameters() sets, whether it can be met or not.
BudgetRule parameter_rule(const SearchSpace& space, std::int64_t parameters);

}  // namespace galapagos
