#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/mutation.hpp>

namespace galapagos {
namespace {

std::string count(std::int64_t number) {
  return number < 0 ? std::to_string(number) : human_count(static_cast<std::uint64_t>(number));
}

std::int64_t parameters_at(const ModuleChoices& module, int level) {
  return module.parameters[static_cast<std::size_t>(level)];
}

/// A random element of `places`, or nothing.
std::optional<std::size_t> pick(const std::vector<std::size_t>& places, RandomStream& random) {
  if (places.empty()) return std::nullopt;
  return places[random.index(places.size())];
}

}  // namespace

Budget Budget::of_level(const SearchSpace& space, std::int64_t level) {
  Budget budget;
  budget.level_ = level;
  bool choice = false;
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    const ModuleChoices& module = space.modules[i];
    if (level < 0 || level > module.last()) {
      throw UsageError(fmt::format("{} has levels 0 to {}, not {}", name_of(module.id), module.last(), level),
                       "--target-level", "choose a level that every module has, or use --target-sparsity");
    }
    auto& of_kind = budget.of_kind_[static_cast<std::size_t>(module.id.kind)];
    of_kind.push_back(i);
    choice = choice || (of_kind.size() > 1 && level > 0 && level < module.last());
  }
  if (!choice) {
    throw UsageError(fmt::format("at level {} there is nothing to choose", level), "--target-level",
                     "choose a level between the first and the last");
  }
  return budget;
}

Budget Budget::of_parameters(const SearchSpace& space, std::int64_t parameters) {
  const std::int64_t least = space.fixed_parameters + space.smallest_parameters();
  const std::int64_t most = space.fixed_parameters + space.dense_parameters();
  if (parameters < least || parameters >= most) {
    throw UsageError(fmt::format("a target of {} parameters, but assignments of this database have {} to {}",
                                 count(parameters), count(least), count(most)),
                     "--target-params", "choose a size in between");
  }
  Budget budget;
  budget.parameters_ = parameters;
  return budget;
}

Assignment Budget::uniform(const SearchSpace& space) const {
  Assignment assignment(space.modules.size(), static_cast<std::int16_t>(level_));
  if (!parameters_) return assignment;
  // The same share for all: each module takes the level that is nearest to it; the largest share that fits.
  const auto at_share = [&](double share) {
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      const ModuleChoices& module = space.modules[i];
      const double wanted = share * static_cast<double>(module.parameters.front());
      int best = 0;
      for (int level = 1; level <= module.last(); ++level) {
        if (std::abs(static_cast<double>(parameters_at(module, level)) - wanted) <
            std::abs(static_cast<double>(parameters_at(module, best)) - wanted)) {
          best = level;
        }
      }
      assignment[i] = static_cast<std::int16_t>(best);
    }
  };
  double low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    const double middle = (low + high) / 2;
    at_share(middle);
    (space.parameters(assignment) <= *parameters_ ? low : high) = middle;
  }
  at_share(low);
  // What is left over goes to single modules, evenly along the depth, a level at a time until none fits.
  std::vector<std::size_t> places(assignment.size());
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = i * 7919 % places.size();
  std::int64_t left = *parameters_ - space.parameters(assignment);
  for (bool used = true; used;) {
    used = false;
    for (const std::size_t i : places) {
      if (assignment[i] == 0) continue;
      const std::int64_t cost =
          parameters_at(space.modules[i], assignment[i] - 1) - parameters_at(space.modules[i], assignment[i]);
      if (cost > left) continue;
      left -= cost;
      --assignment[i];
      used = true;
    }
  }
  return assignment;
}

std::int64_t BudgetRule::cost(const Assignment& assignment) const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    sum += costs[i][static_cast<std::size_t>(assignment[modules[i]])];
  }
  return sum;
}

bool Budget::met_by(const SearchSpace& space, const Assignment& assignment) const {
  const std::vector<BudgetRule> all = rules(space);
  return std::all_of(all.begin(), all.end(),
                     [&](const BudgetRule& rule) { return rule.met_by(rule.cost(assignment)); });
}

std::vector<BudgetRule> Budget::rules(const SearchSpace& space) const {
  std::vector<BudgetRule> all;
  if (parameters_) {
    BudgetRule& rule = all.emplace_back();
    rule.unit = "prunable parameters";
    rule.limit = *parameters_ - space.fixed_parameters;
    for (std::size_t i = 0; i < space.modules.size(); ++i) {
      rule.modules.push_back(i);
      rule.costs.push_back(space.modules[i].parameters);
    }
    return all;
  }
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    const auto& modules = of_kind_[static_cast<std::size_t>(kind)];
    BudgetRule& rule = all.emplace_back();
    rule.unit = "levels of " + name_of(kind) + " modules";
    rule.modules = modules;
    rule.limit = level_ * static_cast<std::int64_t>(modules.size());
    rule.exact = true;
    for (const std::size_t i : modules) {
      rule.costs.emplace_back(space.modules[i].parameters.size());
      std::iota(rule.costs.back().begin(), rule.costs.back().end(), 0);
    }
  }
  return all;
}

std::int64_t Budget::most_parameters(const SearchSpace& space) const {
  if (parameters_) return *parameters_;
  std::int64_t most = space.fixed_parameters;
  for (const auto& modules : of_kind_) {
    // best[s]: most parameters of the modules so far whose levels sum up to s; less than 0 where none do.
    const auto target = static_cast<std::size_t>(level_) * modules.size();
    std::vector<std::int64_t> best(target + 1, -1);
    best[0] = 0;
    for (const std::size_t i : modules) {
      std::vector<std::int64_t> next(target + 1, -1);
      for (std::size_t sum = 0; sum <= target; ++sum) {
        for (std::size_t level = 0; level < space.modules[i].parameters.size() && level <= sum; ++level) {
          if (best[sum - level] < 0) continue;
          next[sum] = std::max(next[sum], best[sum - level] + space.modules[i].parameters[level]);
        }
      }
      best = std::move(next);
    }
    most += best[target];
  }
  return most;
}

void Budget::exchange(const SearchSpace& space, Assignment& assignment, RandomStream& random) const {
  std::vector<std::size_t> down, up;
  if (parameters_) {
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      if (assignment[i] > 0) down.push_back(i);
    }
    const auto larger = pick(down, random);
    if (!larger) return;
    --assignment[*larger];
    std::vector<bool> raised(assignment.size(), false);
    raised[*larger] = true;  // not to be taken back at once
    return repair(space, assignment, random, raised);
  }
  const auto total = static_cast<std::uint32_t>(assignment.size());
  const auto& modules = of_kind_[random.below(total) < of_kind_[0].size() ? 0 : 1];
  for (const std::size_t i : modules) {
    if (assignment[i] > 0) down.push_back(i);
    if (assignment[i] < space.modules[i].last()) up.push_back(i);
  }
  const auto larger = pick(down, random), smaller = pick(up, random);
  if (!larger || !smaller) return;
  --assignment[*larger];
  ++assignment[*smaller];
}

void Budget::repair(const SearchSpace& space, Assignment& assignment, RandomStream& random,
                    std::vector<bool>& raised) const {
  std::int64_t size = space.parameters(assignment);
  const auto step_cost = [&](std::size_t i, int level) {  // from `level` to the level above it
    return parameters_at(space.modules[i], level) - parameters_at(space.modules[i], level + 1);
  };
  std::vector<std::size_t> places;
  std::vector<bool> lowered(assignment.size(), false);
  while (size > *parameters_) {
    places.clear();
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      if (!raised[i] && assignment[i] < space.modules[i].last()) places.push_back(i);
    }
    if (places.empty()) {  // only what was just made larger is left
      raised.assign(raised.size(), false);
      continue;
    }
    const std::size_t i = places[random.index(places.size())];
    size -= step_cost(i, assignment[i]);
    ++assignment[i];
    lowered[i] = true;
  }
  // Whatever room that left is used, by modules that were not just made smaller first.
  for (const bool all : {false, true}) {
    for (;;) {
      places.clear();
      for (std::size_t i = 0; i < assignment.size(); ++i) {
        if ((lowered[i] && !all) || assignment[i] == 0) continue;
        if (size + step_cost(i, assignment[i] - 1) <= *parameters_) places.push_back(i);
      }
      if (places.empty()) break;
      const std::size_t i = places[random.index(places.size())];
      size += step_cost(i, assignment[i] - 1);
      --assignment[i];
    }
  }
}

Assignment mutate(const SearchSpace& space, const Budget& budget, const Assignment& parent,
                  RandomStream& random) {
  const std::uint32_t first = 1 + random.below(3), second = 1 + random.below(3);
  Assignment child = parent;
  for (std::uint32_t i = 0; i < std::min(first, second); ++i) budget.exchange(space, child, random);
  return child;
}

Assignment random_assignment(const SearchSpace& space, const Budget& budget, RandomStream& random) {
  Assignment assignment = budget.uniform(space);
  std::size_t exchanges = 0;
  for (const ModuleChoices& module : space.modules) exchanges += static_cast<std::size_t>(module.last());
  // Not always evenly many: where only two modules can move, each exchange goes to and fro.
  const std::size_t steps = 4 * exchanges + random.below(2);
  for (std::size_t i = 0; i < steps; ++i) budget.exchange(space, assignment, random);
  return assignment;
}

}  // namespace galapagos
