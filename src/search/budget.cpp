#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <optional>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/budget.hpp>
#include <galapagos/search/knapsack_within.hpp>

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

/// Every module at the level whose costs are nearest to a share of those at level 0: of the limit under which
/// that is the greatest, and of all together where that is the same.
void take_share(const std::vector<BudgetRule>& rules, double share, Assignment& assignment) {
  for (std::size_t i = 0; i < rules.front().modules.size(); ++i) {
    const auto rank = [&](std::size_t level) {
      double most = 0, sum = 0;
      for (const BudgetRule& rule : rules) {
        const auto dense = static_cast<double>(rule.costs[i].front());
        if (dense <= 0) continue;
        const double part = static_cast<double>(rule.costs[i][level]) / dense;
        most = std::max(most, part);
        sum += part;
      }
      return std::pair(std::abs(most - share), sum);
    };
    std::size_t best = 0;
    for (std::size_t level = 1; level < rules.front().costs[i].size(); ++level)
      if (rank(level) < rank(best)) best = level;
    assignment[rules.front().modules[i]] = static_cast<std::int16_t>(best);
  }
}

/// Some assignment within all limits; nothing where none is found.
std::optional<Assignment> any_within(const std::vector<BudgetRule>& rules) {
  std::vector<LimitedClass> classes;
  for (std::size_t i = 0; i < rules.front().costs.size(); ++i) {
    LimitedClass& one = classes.emplace_back();
    one.losses.resize(rules.front().costs[i].size());
    std::iota(one.losses.begin(), one.losses.end(), 0.0);
    for (const BudgetRule& rule : rules) one.costs.push_back(rule.costs[i]);
  }
  std::vector<std::int64_t> limits;
  for (const BudgetRule& rule : rules) limits.push_back(rule.limit);
  const auto found = knapsack_within(classes, limits);
  return found ? std::optional(found->choices) : std::nullopt;
}

/// As share_evenly(), under any limits; nothing where no assignment is found.
std::optional<Assignment> shared_evenly(const std::vector<BudgetRule>& rules) {
  const std::size_t modules = rules.front().modules.size();
  const auto fits = [&](const Assignment& assignment) {
    return std::all_of(rules.begin(), rules.end(),
                       [&](const BudgetRule& rule) { return rule.cost(assignment) <= rule.limit; });
  };
  Assignment assignment(modules, 0);
  double low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    take_share(rules, middle, assignment);
    (fits(assignment) ? low : high) = middle;
  }
  take_share(rules, low, assignment);
  if (!fits(assignment)) {
    const auto other = any_within(rules);
    if (!other) return std::nullopt;
    assignment = *other;
  }
  for (bool used = true; used;) {
    used = false;
    for (std::size_t turn = 0; turn < modules; ++turn) {
      std::int16_t& level = assignment[turn * 7919 % modules];
      if (level == 0) continue;
      --level;
      const bool fit = fits(assignment);
      if (!fit) ++level;
      used = used || fit;
    }
  }
  return assignment;
}

bool never_rise(const BudgetRule& rule) {
  return std::all_of(rule.costs.begin(), rule.costs.end(), [](const std::vector<std::int64_t>& costs) {
    return std::is_sorted(costs.rbegin(), costs.rend());
  });
}

/// UsageError where no assignment keeps the limit.
void check_reach(const BudgetRule& rule) {
  const std::int64_t least = rule.least_cost(), most = rule.greatest_cost();
  if (rule.limit >= least) return;
  throw UsageError(fmt::format("a target of {}, but assignments of this database have {} to {}",
                               rule.text(rule.limit), rule.text(least), rule.text(most)),
                   rule.option, "choose one in between");
}

}  // namespace

std::string BudgetRule::text(std::int64_t cost) const {
  return shown != nullptr ? shown(cost + fixed) : count(cost + fixed);
}

std::size_t BudgetRule::part_of(std::size_t module) const {
  if (parts.empty()) return module;
  return static_cast<std::size_t>(std::ranges::upper_bound(parts, module) - parts.begin()) - 1;
}

Range BudgetRule::part(std::size_t number) const {
  const auto at = [&](std::size_t i) { return static_cast<std::int64_t>(parts.empty() ? i : parts[i]); };
  return {at(number), at(number + 1)};
}

std::int64_t BudgetRule::least_cost() const {
  std::int64_t sum = 0;
  for (const auto& of_module : costs) sum += *std::min_element(of_module.begin(), of_module.end());
  return sum;
}

std::int64_t BudgetRule::greatest_cost() const {
  std::int64_t sum = 0;
  for (const auto& of_module : costs) sum += *std::max_element(of_module.begin(), of_module.end());
  return sum;
}

Budget::Budget(std::vector<BudgetRule> rules) : rules_(std::move(rules)) {
  if (rules_.empty() || rules_.front().exact) return;
  uneven_ = rules_.size() > 1 || !never_rise(rules_.front());
}

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
    rule.option = "--target-level";
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
  return Budget({parameter_rule(space, parameters)});
}

BudgetRule parameter_rule(const SearchSpace& space, std::int64_t parameters) {
  BudgetRule rule;
  rule.unit = "prunable parameters";
  rule.limit = parameters - space.fixed_parameters;
  rule.option = "--target-params";
  rule.shown = [](std::int64_t cost) { return count(cost) + " parameters"; };
  rule.fixed = space.fixed_parameters;
  rule.parts = space.part_begins();
  rule.pairs = space.parts_in_pairs();
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    rule.modules.push_back(i);
    rule.costs.push_back(space.modules[i].parameters);
  }
  return rule;
}

Budget Budget::within(std::vector<BudgetRule> limits) {
  std::string options, reach;
  bool dense = true;
  for (const BudgetRule& rule : limits) {
    check_reach(rule);
    std::int64_t unpruned = 0;
    for (const auto& of_module : rule.costs) unpruned += of_module.front();
    dense = dense && unpruned <= rule.limit;
    options += (options.empty() ? "" : ", ") + rule.option;
    reach += fmt::format("{}{} to {}", reach.empty() ? "" : ", ", rule.text(rule.least_cost()),
                         rule.text(rule.greatest_cost()));
  }
  if (dense)
    throw UsageError(
        fmt::format("the unpruned model meets the target; assignments of this database have {}", reach),
        options, "choose one in between");
  std::erase_if(limits, [](const BudgetRule& rule) { return rule.greatest_cost() <= rule.limit; });
  Budget budget(std::move(limits));
  if (budget.uneven_ && !shared_evenly(budget.rules_))
    throw UsageError(
        fmt::format("no assignment was found that meets all targets; each for itself, there are {}", reach),
        options, "choose greater ones");
  return budget;
}

std::size_t Budget::modules() const {
  if (!rules_.front().exact) return rules_.front().modules.size();
  std::size_t count = 0;
  for (const BudgetRule& rule : rules_) count += rule.modules.size();
  return count;
}

bool Budget::met_by(const Assignment& assignment) const {
  return std::all_of(rules_.begin(), rules_.end(),
                     [&](const BudgetRule& rule) { return rule.met_by(rule.cost(assignment)); });
}

Assignment Budget::uniform() const {
  if (uneven_) return shared_evenly(rules_).value_or(Assignment(modules(), 0));
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
