#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <limits>
#include <numbers>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/knapsack.hpp>
#include <galapagos/search/start.hpp>

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

void check_budget(const SearchSpace& space, const Budget& budget, const Assignment& assignment,
                  const std::string& path) {
  for (const BudgetRule& rule : budget.rules(space)) {
    const std::int64_t cost = rule.cost(assignment);
    if (rule.met_by(cost)) continue;
    throw UsageError(
        fmt::format("{} misses the target: {} {} too {}, {} instead of {}{}", path,
                    human_count(static_cast<std::uint64_t>(std::abs(cost - rule.limit))), rule.unit,
                    cost > rule.limit ? "many" : "few", human_count(static_cast<std::uint64_t>(cost)),
                    rule.exact ? "" : "at most ", human_count(static_cast<std::uint64_t>(rule.limit))),
        "--start", "give an assignment of the same size, or another target");
  }
}

std::int64_t steps_between(std::size_t level, std::int16_t other) {
  return std::abs(static_cast<std::int64_t>(level) - other);
}

}  // namespace

std::string name_of(StartKind kind) {
  switch (kind) {
    case StartKind::sensitivity:
      return "sensitivity";
    case StartKind::given:
      return "given";
    default:
      return "uniform";
  }
}

Start make_start(const SearchSpace& space, const Budget& budget, const std::string& name) {
  const bool known = space.has_end_losses();
  if (name == "auto") return {known ? StartKind::sensitivity : StartKind::uniform};
  if (name == "uniform") return {StartKind::uniform};
  if (name == "sensitivity") {
    if (known) return {StartKind::sensitivity};
    throw UsageError("the database has no end losses to begin with", "--start",
                     "make it with 'galapagos database --sensitivity', or use --start uniform");
  }
  Start start{StartKind::given, read_assignment(space, name)};
  check_budget(space, budget, start.given, name);
  return start;
}

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
  for (const BudgetRule& rule : budget.rules(space)) {
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

Assignment start_of_island(const SearchSpace& space, const Budget& budget, const Start& start,
                           std::uint64_t seed, std::int64_t island) {
  if (start.kind == StartKind::given) return start.given;
  if (start.kind == StartKind::uniform) return budget.uniform(space);
  if (island == 0) return least_loss(space, budget);
  return least_loss(space, budget,
                    perturbed_end_losses(space, island_sigma, stream(seed, island, 0, 0, Draw::start)));
}

}  // namespace galapagos
