#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/budget.hpp>

namespace galapagos {
namespace {

std::string count(std::int64_t number) {
  return number < 0 ? std::to_string(number) : human_count(static_cast<std::uint64_t>(number));
}

/// The same share of every module's cost: each takes the level that is nearest to it.
void take_share(const BudgetRule& rule, double share, Assignment& assignment) {
  for (std::size_t i = 0; i < rule.modules.size(); ++i) {
    const std::vector<std::int64_t>& costs = rule.costs[i];
    const double wanted = share * static_cast<double>(costs.front());
    const auto distance = [&](std::size_t level) {
      return std::abs(static_cast<double>(costs[level]) - wanted);
    };
    std::size_t best = 0;
    for (std::size_t level = 1; level < costs.size(); ++level) {
      if (distance(level) < distance(best)) best = level;
    }
    assignment[rule.modules[i]] = static_cast<std::int16_t>(best);
  }
}

/// The largest share that fits; what is left over goes to single modules, evenly along the depth, a level at
/// a time until none fits.
void share_evenly(const BudgetRule& rule, Assignment& assignment) {
  double low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    take_share(rule, middle, assignment);
    (rule.cost(assignment) <= rule.limit ? low : high) = middle;
  }
  take_share(rule, low, assignment);
  std::int64_t left = rule.limit - rule.cost(assignment);
  for (bool used = true; used;) {
    used = false;
    for (std::size_t turn = 0; turn < rule.modules.size(); ++turn) {
      const std::size_t i = turn * 7919 % rule.modules.size();
      std::int16_t& level = assignment[rule.modules[i]];
      if (level == 0) continue;
      const auto at = static_cast<std::size_t>(level);
      const std::int64_t cost = rule.costs[i][at - 1] - rule.costs[i][at];
      if (cost > left) continue;
      left -= cost;
      --level;
      used = true;
    }
  }
}

}  // namespace

std::int64_t BudgetRule::cost(const Assignment& assignment) const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    sum += costs[i][static_cast<std::size_t>(assignment[modules[i]])];
  }
  return sum;
}

Budget Budget::of_level(const SearchSpace& space, std::int64_t level) {
  for (const ModuleChoices& module : space.modules) {
    if (level >= 0 && level <= module.last()) continue;
    throw UsageError(fmt::format("{} has levels 0 to {}, not {}", name_of(module.id), module.last(), level),
                     "--target-level", "choose a level that every module has, or use --target-sparsity");
  }
  std::vector<BudgetRule> rules;
  bool choice = false;
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    BudgetRule& rule = rules.emplace_back();
    rule.unit = "levels of " + name_of(kind) + " modules";
    rule.exact = true;
    for (std::size_t i = 0; i < space.modules.size(); ++i) {
      const ModuleChoices& module = space.modules[i];
      if (module.id.kind != kind) continue;
      rule.modules.push_back(i);
      rule.costs.emplace_back(module.parameters.size());
      std::iota(rule.costs.back().begin(), rule.costs.back().end(), 0);
      choice = choice || (rule.modules.size() > 1 && level > 0 && level < module.last());
    }
    rule.limit = level * static_cast<std::int64_t>(rule.modules.size());
  }
  if (!choice) {
    throw UsageError(fmt::format("at level {} there is nothing to choose", level), "--target-level",
                     "choose a level between the first and the last");
  }
  return Budget(std::move(rules));
}

Budget Budget::of_parameters(const SearchSpace& space, std::int64_t parameters) {
  const std::int64_t least = space.fixed_parameters + space.smallest_parameters();
  const std::int64_t most = space.fixed_parameters + space.dense_parameters();
  if (parameters < least || parameters >= most) {
    throw UsageError(fmt::format("a target of {} parameters, but assignments of this database have {} to {}",
                                 count(parameters), count(least), count(most)),
                     "--target-params", "choose a size in between");
  }
  BudgetRule rule;
  rule.unit = "prunable parameters";
  rule.limit = parameters - space.fixed_parameters;
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    rule.modules.push_back(i);
    rule.costs.push_back(space.modules[i].parameters);
  }
  return Budget({std::move(rule)});
}

std::size_t Budget::modules() const {
  std::size_t count = 0;
  for (const BudgetRule& rule : rules_) count += rule.modules.size();
  return count;
}

bool Budget::met_by(const Assignment& assignment) const {
  return std::all_of(rules_.begin(), rules_.end(),
                     [&](const BudgetRule& rule) { return rule.met_by(rule.cost(assignment)); });
}

Assignment Budget::uniform() const {
  Assignment assignment(modules(), 0);
  for (const BudgetRule& rule : rules_) {
    if (!rule.exact) {
      share_evenly(rule, assignment);
      continue;
    }
    for (const std::size_t i : rule.modules) {
      assignment[i] = static_cast<std::int16_t>(rule.limit / static_cast<std::int64_t>(rule.modules.size()));
    }
  }
  return assignment;
}

}  // namespace galapagos
