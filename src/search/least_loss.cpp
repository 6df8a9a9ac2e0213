#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numbers>

#include <galapagos/core/error.hpp>
#include <galapagos/search/knapsack.hpp>
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

Assignment least_loss(const SearchSpace& space, const Budget& budget, const EndLosses& losses) {
  Assignment assignment(space.modules.size(), 0);
  for (const BudgetRule& rule : budget.rules()) {
    std::vector<KnapsackClass> classes;
    std::vector<std::vector<std::int16_t>> levels;  // of every class's choices
    for (std::size_t i = 0; i < rule.modules.size(); ++i) {
      const std::vector<double>& of_module = losses[rule.modules[i]];
      KnapsackClass& choices = classes.emplace_back();
      levels.emplace_back();
      for (std::size_t level = 0; level < of_module.size(); ++level) {
        if (std::isinf(of_module[level])) continue;
        choices.costs.push_back(rule.costs[i][level]);
        choices.losses.push_back(of_module[level]);
        levels.back().push_back(static_cast<std::int16_t>(level));
      }
    }
    const auto taken =
        rule.exact ? knapsack_exactly(classes, rule.limit) : knapsack_at_most(classes, rule.limit);
    if (!taken)
      throw UsageError("no assignment meets the target", "--target-level, --target-params, --target-sparsity",
                       "choose another one, or more --steps");
    for (std::size_t i = 0; i < taken->size(); ++i)
      assignment[rule.modules[i]] = levels[i][static_cast<std::size_t>((*taken)[i])];
  }
  return assignment;
}

Assignment least_loss(const SearchSpace& space, const Budget& budget) {
  return least_loss(space, budget, end_losses_of(space));
}

std::int64_t most_parameters(const SearchSpace& space, const Budget& budget) {
  EndLosses fewer;  // the less, the more parameters are left: exact, as they are whole numbers
  bool by_parameters = true;
  for (const ModuleChoices& module : space.modules) {
    std::vector<double>& of_module = fewer.emplace_back();
    for (const std::int64_t parameters : module.parameters)
      of_module.push_back(-static_cast<double>(parameters));
  }
  std::int64_t limit = space.fixed_parameters;
  for (const BudgetRule& rule : budget.rules()) {
    limit += rule.limit;
    for (std::size_t i = 0; i < rule.modules.size(); ++i)
      by_parameters = by_parameters && rule.costs[i] == space.modules[rule.modules[i]].parameters;
  }
  return by_parameters ? limit : space.parameters(least_loss(space, budget, fewer));
}

}  // namespace galapagos
