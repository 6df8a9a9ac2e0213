#include <algorithm>
#include <cmath>

#include <galapagos/search/breeding.hpp>
#include <galapagos/search/mutation.hpp>

namespace galapagos {
namespace {

using Moves = std::vector<std::pair<std::size_t, std::int16_t>>;

double uniform(RandomStream& random) {
  return random.next() / 4294967296.0;
}

/// Of a module at a level: what the rule that it is under says, exactly or at most.
double cost_at(const Budget& budget, std::size_t module, std::int16_t level) {
  for (const BudgetRule& rule : budget.rules()) {
    const auto at = std::lower_bound(rule.modules.begin(), rule.modules.end(), module);
    if (at == rule.modules.end() || *at != module) continue;
    const auto place = static_cast<std::size_t>(at - rule.modules.begin());
    return static_cast<double>(rule.costs[place][static_cast<std::size_t>(level)]);
  }
  return 0;
}

/// One family of choices: every move alike, or by what is expected of it.
class Chooser {
 public:
  Chooser(const Breeding& breeding, const Assignment& child, RandomStream& random)
      : breeding_(breeding), child_(child), random_(random) {}

  std::size_t any(const Moves& moves) const { return random_.index(moves.size()); }
  /// With probability proportional to exp(gain per cost / temperature), in units of the moves' own spread.
  std::size_t by_gain(const Moves& moves) const {
    std::vector<double> gains;
    for (const auto& [module, level] : moves) gains.push_back(gain(module, level));
    const double best = *std::max_element(gains.begin(), gains.end());
    double spread = 0;
    for (const double one : gains) spread += (best - one) / static_cast<double>(gains.size());
    if (!(spread > 0)) return any(moves);
    double sum = 0;
    for (double& one : gains) sum += one = std::exp((one - best) / (breeding_.temperature * spread));
    double drawn = uniform(random_) * sum;
    for (std::size_t i = 0; i + 1 < gains.size(); ++i) {
      if ((drawn -= gains[i]) < 0) return i;
    }
    return gains.size() - 1;
  }

 private:
  double gain(std::size_t module, std::int16_t level) const {
    const std::vector<double>& losses = breeding_.losses[module];
    const double lost =
        losses[static_cast<std::size_t>(child_[module])] - losses[static_cast<std::size_t>(level)];
    const double cost = std::abs(cost_at(breeding_.budget, module, level) -
                                 cost_at(breeding_.budget, module, child_[module]));
    return lost / std::max(cost, 1.0);
  }

  const Breeding& breeding_;
  const Assignment& child_;
  RandomStream& random_;
};

/// Modules of which `level` has a level to go to.
template <typename Level>
Moves moves_of(const Assignment& assignment, const Level& level) {
  Moves moves;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const int to = level(i);
    if (to >= 0 && to != assignment[i]) moves.emplace_back(i, static_cast<std::int16_t>(to));
  }
  return moves;
}

/// The number of a module's levels.
int levels_of(const Budget& budget, std::size_t module) {
  for (const BudgetRule& rule : budget.rules()) {
    const auto at = std::lower_bound(rule.modules.begin(), rule.modules.end(), module);
    if (at != rule.modules.end() && *at == module)
      return static_cast<int>(rule.costs[static_cast<std::size_t>(at - rule.modules.begin())].size());
  }
  return 1;
}

}  // namespace

std::vector<Origin> ways_to_breed(const Breeding& breeding) {
  std::vector<Origin> ways = {Origin::mutation, Origin::stride, Origin::removal};
  // Where levels of each kind have to sum up to a number of their own, nothing goes from one to the other.
  const BudgetRule& rule = breeding.budget.rules().front();
  if (!rule.exact && rule.pairs) ways.push_back(Origin::layer);
  if (!breeding.mates.empty()) ways.push_back(Origin::crossover);
  if (!breeding.losses.empty()) ways.push_back(Origin::exchange);
  return ways;
}

std::optional<Assignment> breed(Origin way, const Breeding& breeding, RandomStream& random) {
  const Budget& budget = breeding.budget;
  if (way == Origin::mutation) return mutate(budget, breeding.parent, random);
  Assignment child = breeding.parent;
  std::vector<bool> pinned(child.size(), false);
  const Chooser chooser(breeding, child, random);
  ChooseModule choose = [&](const Moves& moves) { return chooser.any(moves); };
  const BudgetRule& rule = budget.rules().front();
  const auto change_part = [&](std::size_t part, int by) {
    const auto [first, last] = rule.part(part);
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      child[i] = static_cast<std::int16_t>(std::clamp(child[i] + by, 0, levels_of(budget, i) - 1));
      pinned[i] = true;
    }
  };
  // Of a module, or of all of its part that has others: every other time, or where that is wanted.
  const auto move = [&](const Moves& moves, bool by_part = false) {
    if (moves.empty()) return false;
    const auto [module, level] = moves[choose(moves)];
    const std::size_t part = rule.part_of(module);
    if (rule.part(part).count() > 1 && (by_part || random.below(2) == 0)) {
      change_part(part, level - child[module]);
      return true;
    }
    child[module] = level;
    pinned[module] = true;
    return true;
  };
  switch (way) {
    case Origin::stride: {
      const int levels = 2 + static_cast<int>(random.below(2));
      if (!move(moves_of(child,
                         [&](std::size_t i) { return child[i] < 2 ? -1 : std::max(child[i] - levels, 0); })))
        return std::nullopt;
      break;
    }
    case Origin::layer: {  // parts 2 l and 2 l + 1 are a layer's
      if (!move(moves_of(child, [&](std::size_t i) { return child[i] - 1; }), true)) return std::nullopt;
      const auto grown =
          static_cast<std::size_t>(std::find(pinned.begin(), pinned.end(), true) - pinned.begin());
      const std::size_t other = rule.part_of(grown) ^ 1;
      if (other > rule.part_of(child.size() - 1)) return std::nullopt;
      const Assignment before = child;
      change_part(other, 1);
      if (child == before) return std::nullopt;
      break;
    }
    case Origin::removal: {
      const Moves moves = moves_of(child, [&](std::size_t i) { return levels_of(budget, i) - 1; });
      if (moves.empty()) return std::nullopt;
      const auto [module, level] = moves[choose(moves)];
      child[module] = level;
      pinned[module] = true;
      break;
    }
    case Origin::crossover: {
      const Assignment& mate = breeding.mates[random.index(breeding.mates.size())];
      for (std::size_t i = 0; i < child.size(); ++i) {
        pinned[i] = mate[i] == child[i];  // what both have stays
        if (random.below(2) == 0) child[i] = mate[i];
      }
      if (!restore(budget, child, pinned, choose)) return std::nullopt;
      pinned.assign(child.size(), false);  // but for room that is left
      break;
    }
    case Origin::exchange:
      choose = [&](const Moves& moves) { return chooser.by_gain(moves); };
      if (!move(moves_of(child, [&](std::size_t i) { return child[i] - 1; }))) return std::nullopt;
      break;
    default:
      return std::nullopt;
  }
  if (!restore(budget, child, pinned, choose)) return std::nullopt;
  return child;
}

std::optional<Assignment> moved_into(const Breeding& breeding, RandomStream& random) {
  Assignment moved = breeding.parent;
  const std::vector<bool> none(moved.size(), false);
  const Chooser chooser(breeding, moved, random);
  const auto choose = [&](const Moves& moves) {
    return breeding.losses.empty() ? chooser.any(moves) : chooser.by_gain(moves);
  };
  if (!restore(breeding.budget, moved, none, choose)) return std::nullopt;
  return moved;
}

}  // namespace galapagos
