#include "limits.hpp"

#include <optional>

#include <galapagos/search/mutation.hpp>

namespace galapagos {
namespace {

using Moves = std::vector<std::pair<std::size_t, std::int16_t>>;

/// Makes one of the moves that `to` has for the modules that `wanted` says something of; false where there is
/// none.
template <typename Wanted, typename To, typename Put>
std::optional<std::size_t> move_one(std::size_t modules, const ChooseModule& choose, const Wanted& wanted,
                                    const To& to, const Put& put) {
  Moves moves;
  for (std::size_t i = 0; i < modules; ++i) {
    if (!wanted(i)) continue;
    if (const std::optional<std::int16_t> level = to(i)) moves.emplace_back(i, *level);
  }
  if (moves.empty()) return std::nullopt;
  const auto [module, level] = moves[choose(moves)];
  put(module, level);
  return module;
}

/// Levels that have to sum up to one number, of some modules.
bool restore_sum(const BudgetRule& rule, Assignment& assignment, const std::vector<bool>& pinned,
                 const ChooseModule& choose) {
  const auto step = [&](std::int16_t by) {
    const auto to = [&](std::size_t i) -> std::optional<std::int16_t> {
      const auto level = static_cast<std::int16_t>(assignment[rule.modules[i]] + by);
      if (level < 0 || level >= std::ssize(rule.costs[i])) return std::nullopt;
      return level;
    };
    // Asked in the budget's numbers of modules, not the rule's.
    const ChooseModule in_budget = [&](const Moves& moves) {
      Moves named;
      for (const auto& [i, level] : moves) named.emplace_back(rule.modules[i], level);
      return choose(named);
    };
    const auto put = [&](std::size_t i, std::int16_t level) { assignment[rule.modules[i]] = level; };
    const auto free = [&](std::size_t i) { return !pinned[rule.modules[i]]; };
    const auto any = [](std::size_t) { return true; };
    return move_one(rule.modules.size(), in_budget, free, to, put) ||
           move_one(rule.modules.size(), in_budget, any, to, put);
  };
  for (std::int64_t sum = rule.cost(assignment); sum != rule.limit; sum = rule.cost(assignment)) {
    if (!step(sum < rule.limit ? 1 : -1)) return false;
  }
  return true;
}

bool restore_limits(const Budget& budget, Assignment& assignment, const std::vector<bool>& pinned,
                    const ChooseModule& choose) {
  Limits limits(budget, assignment);
  std::vector<bool> lowered(limits.size(), false);
  const auto put = [&](std::size_t i, std::int16_t level) { limits.put(i, level); };
  const auto free = [&](std::size_t i) { return !pinned[i]; };
  const auto any = [](std::size_t) { return true; };
  const auto smaller = [&](std::size_t i) { return limits.smaller(i); };
  while (!limits.kept()) {
    auto place = move_one(limits.size(), choose, free, smaller, put);
    if (!place) place = move_one(limits.size(), choose, any, smaller, put);
    if (!place) return false;
    lowered[*place] = true;
  }
  const auto larger = [&](std::size_t i) { return limits.larger(i); };
  const auto untouched = [&](std::size_t i) { return free(i) && !lowered[i]; };
  while (move_one(limits.size(), choose, untouched, larger, put)) continue;
  while (move_one(limits.size(), choose, free, larger, put)) continue;
  return true;
}

}  // namespace

bool restore(const Budget& budget, Assignment& assignment, const std::vector<bool>& pinned,
             const ChooseModule& choose) {
  if (!budget.rules().front().exact) return restore_limits(budget, assignment, pinned, choose);
  for (const BudgetRule& rule : budget.rules()) {
    if (!restore_sum(rule, assignment, pinned, choose)) return false;
  }
  return true;
}

}  // namespace galapagos
