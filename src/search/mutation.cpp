#include "limits.hpp"

#include <algorithm>
#include <optional>

#include <galapagos/search/mutation.hpp>

namespace galapagos {
namespace {

/// A random element of `places`, or nothing.
std::optional<std::size_t> pick(const std::vector<std::size_t>& places, RandomStream& random) {
  if (places.empty()) return std::nullopt;
  return places[random.index(places.size())];
}

/// A rule's modules, which it numbers 0, 1, ..., at an assignment's levels.
class RuledModules {
 public:
  RuledModules(const BudgetRule& rule, Assignment& assignment) : rule_(rule), assignment_(assignment) {}

  std::size_t size() const { return rule_.modules.size(); }
  std::int16_t& level(std::size_t i) const { return assignment_[rule_.modules[i]]; }
  bool largest(std::size_t i) const { return level(i) == 0; }
  bool smallest(std::size_t i) const {
    return static_cast<std::size_t>(level(i)) + 1 == rule_.costs[i].size();
  }
  std::vector<std::size_t> that_can_grow() const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < size(); ++i)
      if (!largest(i)) found.push_back(i);
    return found;
  }
  std::vector<std::size_t> that_can_shrink() const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < size(); ++i)
      if (!smallest(i)) found.push_back(i);
    return found;
  }
  /// What module i costs more at its level than at the next.
  std::int64_t gained_by_shrinking(std::size_t i) const { return step(i, level(i)); }
  /// What it costs more at the level before.
  std::int64_t cost_of_growing(std::size_t i) const { return step(i, level(i) - 1); }

 private:
  std::int64_t step(std::size_t i, int from) const {
    const auto at = static_cast<std::size_t>(from);
    return rule_.costs[i][at] - rule_.costs[i][at + 1];
  }

  const BudgetRule& rule_;
  Assignment& assignment_;
};

/// The modules of the part that one belongs to, with it alone where that is all, or from a drawn one on.
std::vector<std::size_t> part_with(std::size_t module, const BudgetRule& rule, RandomStream& random) {
  const auto [first, last] = rule.part(rule.part_of(module));
  if (last - first == 1) return {module};
  std::vector<std::size_t> all;
  for (std::int64_t i = first; i < last; ++i) all.push_back(static_cast<std::size_t>(i));
  std::ranges::rotate(all, all.begin() + static_cast<std::ptrdiff_t>(random.index(all.size())));
  return all;
}

/// Makes modules smaller until the limit is kept, or part by part, those just `raised` last, then uses
/// whatever room that left.
void keep_limit(const BudgetRule& rule, Assignment& assignment, RandomStream& random,
                const std::vector<std::size_t>& raised, bool by_part) {
  const RuledModules modules(rule, assignment);
  std::int64_t cost = rule.cost(assignment);
  std::vector<bool> spared(modules.size(), false), lowered(modules.size(), false);
  for (const std::size_t i : raised) spared[i] = true;  // not to be taken back at once
  while (cost > rule.limit) {
    std::vector<std::size_t> places = modules.that_can_shrink();
    std::erase_if(places, [&](std::size_t i) { return spared[i]; });
    const auto smaller = pick(places, random);
    if (!smaller) {  // only what was just made larger is left
      spared.assign(modules.size(), false);
      continue;
    }
    const std::vector<std::size_t> those =
        by_part ? part_with(*smaller, rule, random) : std::vector<std::size_t>{*smaller};
    for (const std::size_t i : those) {
      if (cost <= rule.limit) break;
      if (modules.smallest(i) || spared[i]) continue;
      cost -= modules.gained_by_shrinking(i);
      ++modules.level(i);
      lowered[i] = true;
    }
  }
  // By modules that were not just made smaller first.
  for (const bool all : {false, true}) {
    for (;;) {
      std::vector<std::size_t> places = modules.that_can_grow();
      std::erase_if(places, [&](std::size_t i) {
        return (lowered[i] && !all) || cost + modules.cost_of_growing(i) > rule.limit;
      });
      const auto larger = pick(places, random);
      if (!larger) break;
      cost += modules.cost_of_growing(*larger);
      --modules.level(*larger);
    }
  }
}

const BudgetRule& drawn_rule(const Budget& budget, RandomStream& random) {
  const std::vector<BudgetRule>& rules = budget.rules();
  if (rules.size() == 1) return rules.front();
  std::size_t place = random.below(static_cast<std::uint32_t>(budget.modules())), rule = 0;
  while (place >= rules[rule].modules.size()) place -= rules[rule++].modules.size();
  return rules[rule];
}

void exchange_within(const Budget& budget, Assignment& assignment, RandomStream& random) {
  const Assignment before = assignment;
  Limits limits(budget, assignment);
  // Of the modules that `wanted` says something of, those for which `to` has a level; one of them goes there.
  const auto move_one = [&](const auto& wanted, const auto& to) -> std::optional<std::size_t> {
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < limits.size(); ++i)
      if (wanted(i) && to(i)) places.push_back(i);
    const auto place = pick(places, random);
    if (place) limits.put(*place, *to(*place));
    return place;
  };
  const auto any = [](std::size_t) { return true; };
  const auto smaller = [&](std::size_t i) { return limits.smaller(i); };
  const auto larger = [&](std::size_t i) { return limits.larger(i); };
  const auto raised = move_one(any, [&](std::size_t i) {
    const auto level = static_cast<std::int16_t>(assignment[i] - 1);
    return level < 0 ? std::optional<std::int16_t>() : level;
  });
  if (!raised) return;
  std::vector<bool> lowered(limits.size(), false), spared(limits.size(), false);
  spared[*raised] = true;
  const BudgetRule& rule = budget.rules().front();
  if (rule.part(rule.part_of(*raised)).count() > 1 && random.below(2) == 0) {
    for (const std::size_t i : part_with(*raised, rule, random)) {
      if (!spared[i] && assignment[i] > 0) limits.put(i, static_cast<std::int16_t>(assignment[i] - 1));
      spared[i] = true;
    }
  }
  while (!limits.kept()) {
    auto place = move_one([&](std::size_t i) { return !spared[i]; }, smaller);
    if (!place) place = move_one(any, smaller);  // only what was just made larger is left
    if (!place) {                                // nothing brings it down any more
      assignment = before;
      return;
    }
    lowered[*place] = true;
  }
  while (move_one([&](std::size_t i) { return !lowered[i]; }, larger)) continue;
  while (move_one(any, larger)) continue;
}

}  // namespace

void exchange(const Budget& budget, Assignment& assignment, RandomStream& random) {
  if (budget.uneven()) return exchange_within(budget, assignment, random);
  const BudgetRule& rule = drawn_rule(budget, random);
  const RuledModules modules(rule, assignment);
  const auto larger = pick(modules.that_can_grow(), random);
  if (!rule.exact) {
    if (!larger) return;
    std::vector<std::size_t> raised = {*larger};
    const Range part = rule.part(rule.part_of(*larger));
    const bool by_part = part.count() > 1 && random.below(2) == 0;
    if (by_part) raised = part_with(*larger, rule, random);
    std::erase_if(raised, [&](std::size_t i) { return modules.largest(i); });
    for (const std::size_t i : raised) --modules.level(i);
    return keep_limit(rule, assignment, random, raised, by_part);
  }
  const auto smaller = pick(modules.that_can_shrink(), random);
  if (!larger || !smaller) return;
  --modules.level(*larger);
  ++modules.level(*smaller);
}

Assignment mutate(const Budget& budget, const Assignment& parent, RandomStream& random) {
  const std::uint32_t first = 1 + random.below(3), second = 1 + random.below(3);
  Assignment child = parent;
  for (std::uint32_t i = 0; i < std::min(first, second); ++i) exchange(budget, child, random);
  return child;
}

Assignment random_assignment(const Budget& budget, RandomStream& random) {
  Assignment assignment = budget.uniform();
  std::size_t exchanges = 0;
  for (const BudgetRule& rule : budget.rules()) {
    for (const auto& costs : rule.costs) exchanges += costs.size() - 1;
    if (!rule.exact) break;  // the others are on the same modules
  }
  // Not always evenly many: where only two modules can move, each exchange goes to and fro.
  const std::size_t steps = 4 * exchanges + random.below(2);
  for (std::size_t i = 0; i < steps; ++i) exchange(budget, assignment, random);
  return assignment;
}

}  // namespace galapagos
