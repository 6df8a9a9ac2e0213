#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numbers>
#include <string>

#include <galapagos/core/error.hpp>
#include <galapagos/search/knapsack.hpp>
#include <galapagos/search/knapsack_within.hpp>
#include <galapagos/search/least_loss.hpp>

namespace galapagos {
namespace {

/// Standard normal numbers (Box and Muller), of which every module gets one.
double normal(RandomStream& random) {
  const auto uniform = [&] { return (static_cast<double>(random.next()) + 1) * 0x1p-32; };  // in (0, 1]
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

EndLosses end_losses_of(const SearchSpace& space) {
  EndLosses losses;
  for (const ModuleChoices& module : space.modules) losses.push_back(module.end_loss);
  return losses;
}

std::int64_t steps_between(std::size_t level, std::int16_t other) {
  return std::abs(static_cast<std::int64_t>(level) - other);
}

}  // namespace

EndLosses perturbed_end_losses(const SearchSpace& space, double sigma, RandomStream random) {
  return perturbed(end_losses_of(space), sigma, random);
}

EndLosses perturbed(EndLosses losses, double sigma, RandomStream& random) {
  for (std::vector<double>& of_module : losses) {
    const double factor = std::exp(sigma * normal(random));
    for (double& loss : of_module) loss *= factor;
  }
  return losses;
}

EndLosses near_only(EndLosses losses, const Assignment& centre, std::int64_t steps) {
  for (std::size_t i = 0; i < losses.size(); ++i) {
    for (std::size_t level = 0; level < losses[i].size(); ++level) {
      if (steps_between(level, centre[i]) > steps) losses[i][level] = std::numeric_limits<double>::infinity();
    }
  }
  return losses;
}

EndLosses steps_first(EndLosses losses, const Assignment& centre) {
  double all = 0;  // no two assignments differ by more
  for (const std::vector<double>& of_module : losses) {
    double most = 0;
    for (const double loss : of_module)
      if (std::isfinite(loss)) most = std::max(most, std::abs(loss));
    all += 2 * most;
  }
  const double price = all > 0 ? all : 1;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    for (std::size_t level = 0; level < losses[i].size(); ++level)
      losses[i][level] += price * static_cast<double>(steps_between(level, centre[i]));
  }
  return losses;
}

namespace {

/// Levels that may be taken, of every module of a rule.
struct Allowed {
  std::vector<std::vector<std::int16_t>> levels;

  Allowed(const BudgetRule& rule, const EndLosses& losses) {
    for (const std::size_t module : rule.modules) {
      levels.emplace_back();
      for (std::size_t level = 0; level < losses[module].size(); ++level)
        if (!std::isinf(losses[module][level])) levels.back().push_back(static_cast<std::int16_t>(level));
    }
  }
  /// Of those of module i, what `values` has at their places.
  template <typename T>
  std::vector<T> of(std::size_t i, const std::vector<T>& values) const {
    std::vector<T> found;
    for (const std::int16_t level : levels[i]) found.push_back(values[static_cast<std::size_t>(level)]);
    return found;
  }
  void put(const BudgetRule& rule, const std::vector<std::int16_t>& taken, Assignment& assignment) const {
    for (std::size_t i = 0; i < taken.size(); ++i)
      assignment[rule.modules[i]] = levels[i][static_cast<std::size_t>(taken[i])];
  }
};

[[noreturn]] void fail(const Budget& budget) {
  std::string options;
  for (const BudgetRule& rule : budget.rules())
    if (options != rule.option) options += (options.empty() ? "" : ", ") + rule.option;
  throw UsageError("no assignment meets the target", options, "choose another one, or more --steps");
}

LeastLoss within_limits(const Budget& budget, const EndLosses& losses) {
  const BudgetRule& first = budget.rules().front();
  const Allowed allowed(first, losses);
  std::vector<LimitedClass> classes;
  for (std::size_t i = 0; i < first.modules.size(); ++i) {
    LimitedClass& one = classes.emplace_back();
    one.losses = allowed.of(i, losses[first.modules[i]]);
    for (const BudgetRule& rule : budget.rules()) one.costs.push_back(allowed.of(i, rule.costs[i]));
  }
  std::vector<std::int64_t> limits;
  for (const BudgetRule& rule : budget.rules()) limits.push_back(rule.limit);
  const auto found = knapsack_within(classes, limits);
  if (!found) fail(budget);
  LeastLoss least{Assignment(first.modules.size(), 0), found->loss - found->bound};
  allowed.put(first, found->choices, least.assignment);
  return least;
}

}  // namespace

LeastLoss bounded_least_loss(const SearchSpace& space, const Budget& budget, const EndLosses& losses) {
  const BudgetRule& first = budget.rules().front();
  if (!first.exact && budget.rules().size() > 1) return within_limits(budget, losses);
  LeastLoss least{Assignment(space.modules.size(), 0)};
  for (const BudgetRule& rule : budget.rules()) {
    const Allowed allowed(rule, losses);
    std::vector<KnapsackClass> classes;
    for (std::size_t i = 0; i < rule.modules.size(); ++i)
      classes.push_back({allowed.of(i, rule.costs[i]), allowed.of(i, losses[rule.modules[i]])});
    const auto taken =
        rule.exact ? knapsack_exactly(classes, rule.limit) : knapsack_at_most(classes, rule.limit);
    if (!taken) fail(budget);
    allowed.put(rule, *taken, least.assignment);
  }
  return least;
}

Assignment least_loss(const SearchSpace& space, const Budget& budget, const EndLosses& losses) {
  return bounded_least_loss(space, budget, losses).assignment;
}

Assignment least_loss(const SearchSpace& space, const Budget& budget) {
  return least_loss(space, budget, end_losses_of(space));
}

std::int64_t most_parameters(const SearchSpace& space, const Budget& budget) {
  const std::vector<BudgetRule>& rules = budget.rules();
  EndLosses fewer;  // the less, the more parameters are left: exact, as they are whole numbers
  for (const ModuleChoices& module : space.modules) {
    std::vector<double>& of_module = fewer.emplace_back();
    for (const std::int64_t parameters : module.parameters)
      of_module.push_back(-static_cast<double>(parameters));
  }
  if (rules.front().exact) {
    std::int64_t limit = space.fixed_parameters;
    bool by_parameters = true;
    for (const BudgetRule& rule : rules) {
      limit += rule.limit;
      for (std::size_t i = 0; i < rule.modules.size(); ++i)
        by_parameters = by_parameters && rule.costs[i] == space.modules[rule.modules[i]].parameters;
    }
    return by_parameters ? limit : space.parameters(least_loss(space, budget, fewer));
  }
  // No more than each limit by itself leaves.
  std::int64_t most = space.fixed_parameters + space.dense_parameters();
  for (const BudgetRule& rule : rules) {
    bool by_parameters = true;
    for (std::size_t i = 0; i < rule.modules.size(); ++i)
      by_parameters = by_parameters && rule.costs[i] == space.modules[rule.modules[i]].parameters;
    most = std::min(most, by_parameters ? space.fixed_parameters + rule.limit
                                        : space.parameters(least_loss(space, Budget({rule}), fewer)));
  }
  return most;
}

}  // namespace galapagos
