#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/core/random.hpp>

namespace galapagos {

/// One rule of a budget, about modules that no other rule is about: what their levels cost in all.
struct BudgetRule {
  std::string unit;                              ///< of the costs, as messages call it
  std::vector<std::size_t> modules;              ///< ascending
  std::vector<std::vector<std::int64_t>> costs;  ///< of each of them at levels 0, 1, ...
  std::int64_t limit = 0;
  bool exact = false;  ///< the costs have to sum up to the limit, instead of to no more

  std::int64_t cost(const Assignment& assignment) const;
  bool met_by(std::int64_t cost) const { return exact ? cost == limit : cost <= limit; }
};

/// What every assignment of a search has in common. With a target level, the sum of levels over the modules
/// of each kind (DarwinLM); with a target size, at most so many parameters and no module that could be made
/// larger within that.
class Budget {
 public:
  /// UsageError where a kind has no such level, or nothing could be exchanged.
  static Budget of_level(const SearchSpace& space, std::int64_t level);
  /// `parameters` of the whole model. UsageError, saying what can be met, where no assignment meets it or the
  /// unpruned model does.
  static Budget of_parameters(const SearchSpace& space, std::int64_t parameters);

  /// The most even assignment: the target level everywhere, or the same share of every module's parameters.
  Assignment uniform(const SearchSpace& space) const;
  bool met_by(const SearchSpace& space, const Assignment& assignment) const;
  /// What met_by() asks for, rule by rule.
  std::vector<BudgetRule> rules(const SearchSpace& space) const;

  /// Makes one random exchange: one module gets larger by a level and others smaller, so that the budget is
  /// met again. With a target level this is the reference's switch: a kind is drawn in proportion to its
  /// number of modules, then a module whose level can go down and one whose level can go up, which may be the
  /// same.
  void exchange(const SearchSpace& space, Assignment& assignment, RandomStream& random) const;

  std::optional<std::int64_t> parameters() const { return parameters_; }
  /// Parameters of the whole model that no assignment of this budget exceeds.
  std::int64_t most_parameters(const SearchSpace& space) const;

 private:
  void repair(const SearchSpace& space, Assignment& assignment, RandomStream& random,
              std::vector<bool>& raised) const;

  std::int64_t level_ = 0;
  std::optional<std::int64_t> parameters_;
  std::vector<std::size_t> of_kind_[2];  // modules of each kind
};

/// A mutation of `parent`: min(u1, u2) exchanges, u1 and u2 uniform on {1, 2, 3}.
Assignment mutate(const SearchSpace& space, const Budget& budget, const Assignment& parent,
                  RandomStream& random);

/// An assignment drawn at random among those that meet the budget: many exchanges away from the uniform one.
Assignment random_assignment(const SearchSpace& space, const Budget& budget, RandomStream& random);

}  // namespace galapagos
