#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

#include <galapagos/core/error.hpp>
#include <galapagos/search/knapsack.hpp>

namespace galapagos {
namespace {

/// Relative to the bound's terms; far more than the rounding of sums of a few hundred of them.
constexpr double rounding = 1e-12;
/// Of the gap that the dual's feasible solution leaves, what is tried first.
constexpr double first_share_of_gap = 1.0 / 64;
/// States kept to find the way back: 1 GiB of them.
constexpr std::size_t most_states = std::size_t{1} << 27;

/// Choices of the classes from some one on.
struct State {
  std::int64_t cost = 0;
  double loss = 0;
  std::uint32_t rest = 0;  // the state of the classes behind the first one
  std::int16_t choice = 0;
};

/// What is left of a state once the next classes are under way.
struct Step {
  std::uint32_t rest;
  std::int16_t choice;
};

/// The Lagrangian relaxation at one multiplier: every class by itself takes its least loss + multiplier *
/// cost.
struct Relaxation {
  std::vector<double> least;  // of each class
  std::int64_t cost = 0;      // of the choices, the lower one where they are equal
  double loss = 0;
  double bound = 0;      // on the loss of any solution
  double magnitude = 0;  // of the bound's terms
};

Relaxation relax(std::span<const KnapsackClass> classes, std::int64_t limit, double multiplier) {
  Relaxation found;
  for (const KnapsackClass& one : classes) {
    double least = std::numeric_limits<double>::infinity();
    std::size_t best = 0;
    for (std::size_t choice = 0; choice < one.costs.size(); ++choice) {
      const double value = one.losses[choice] + multiplier * static_cast<double>(one.costs[choice]);
      if (value < least || (value == least && one.costs[choice] < one.costs[best])) {
        least = value;
        best = choice;
      }
    }
    found.least.push_back(least);
    found.cost += one.costs[best];
    found.loss += one.losses[best];
    found.bound += least;
    found.magnitude += std::abs(least);
  }
  const double price = multiplier * static_cast<double>(limit);
  found.bound -= price;
  found.magnitude += price;
  return found;
}

/// The least multiplier, to the last bit, whose choices keep within the limit: the dual's optimum.
double best_multiplier(std::span<const KnapsackClass> classes, std::int64_t limit) {
  if (relax(classes, limit, 0).cost <= limit) return 0;
  double low = 0, high = 1;  // at the sum of all differences of losses every class takes its least cost
  for (const KnapsackClass& one : classes) {
    const auto [least, most] = std::minmax_element(one.losses.begin(), one.losses.end());
    high += *most - *least;
  }
  constexpr int most_halvings = 200;
  for (int halving = 0; halving < most_halvings; ++halving) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (relax(classes, limit, middle).cost <= limit ? high : low) = middle;
  }
  return high;
}

/// The search for a solution whose loss is within a gap of the bound.
class AtMost {
 public:
  AtMost(std::span<const KnapsackClass> classes, std::int64_t limit)
      : classes_(classes),
        limit_(limit),
        multiplier_(best_multiplier(classes, limit)),
        relaxation_(relax(classes, limit, multiplier_)) {
    for (const KnapsackClass& one : classes_) {
      least_costs_.push_back(*std::min_element(one.costs.begin(), one.costs.end()));
    }
  }

  /// The difference of the least loss of a solution from the dual's bound, at most.
  double widest_gap() const { return std::max(0.0, relaxation_.loss - relaxation_.bound) + tolerance(); }
  double tolerance() const { return rounding * relaxation_.magnitude; }

  /// The solution of least loss, where that is within `gap` of the bound; else maybe another one. The dual's
  /// own is always among those looked at.
  struct Solution {
    std::vector<std::int16_t> choices;
    double gap = 0;
  };
  Solution within(double gap) const;

 private:
  std::span<const KnapsackClass> classes_;
  std::int64_t limit_;
  double multiplier_;
  Relaxation relaxation_;
  std::vector<std::int64_t> least_costs_;
};

/// Two lists, by rising cost and falling loss, as one. Of equal states the first list's stays.
void merge(const std::vector<State>& first, const std::vector<State>& second, std::vector<State>& merged) {
  merged.clear();
  const auto before = [](const State& a, const State& b) {
    return a.cost < b.cost || (a.cost == b.cost && a.loss < b.loss);
  };
  double least = std::numeric_limits<double>::infinity();
  auto a = first.begin(), b = second.begin();
  while (a != first.end() || b != second.end()) {
    const bool take_b = a == first.end() || (b != second.end() && before(*b, *a));
    const State& next = take_b ? *b++ : *a++;
    if (next.loss < least) {
      merged.push_back(next);
      least = next.loss;
    }
  }
}

AtMost::Solution AtMost::within(double gap) const {
  std::vector<std::vector<Step>> steps(classes_.size());
  std::vector<State> states = {State{}}, joined, shifted, merged;
  // The bound of a state, less that of the relaxation, is what its own choices are above their least.
  double least_behind = 0;
  std::int64_t least_cost_before = 0;
  for (const std::int64_t cost : least_costs_) least_cost_before += cost;
  std::size_t kept = 0;
  const double most = gap + tolerance();
  for (std::size_t place = classes_.size(); place-- > 0;) {
    const KnapsackClass& one = classes_[place];
    least_behind += relaxation_.least[place];
    least_cost_before -= least_costs_[place];
    joined.clear();
    for (std::size_t choice = 0; choice < one.costs.size(); ++choice) {
      shifted.clear();
      for (std::size_t i = 0; i < states.size(); ++i) {
        const std::int64_t cost = states[i].cost + one.costs[choice];
        const double loss = states[i].loss + one.losses[choice];
        if (cost + least_cost_before > limit_) break;  // and so are all that follow
        if (loss + multiplier_ * static_cast<double>(cost) - least_behind > most) continue;
        shifted.push_back({cost, loss, static_cast<std::uint32_t>(i), static_cast<std::int16_t>(choice)});
      }
      merge(joined, shifted, merged);
      std::swap(joined, merged);
    }
    std::swap(states, joined);
    kept += states.size();
    if (kept > most_states) {
      throw ResourceError(fmt::format("the exact assignment needs more than {} states", most_states),
                          "--target-params, --target-sparsity",
                          "use a database of fewer levels, or a slightly other target");
    }
    for (const State& state : states) steps[place].push_back({state.rest, state.choice});
  }
  if (states.empty()) {
    throw NumericalError("the end losses are too large to be added up", "end_loss of the database",
                         "make the database with other sensitivities, or use --start uniform");
  }
  // The last has the least loss.
  Solution solution;
  solution.gap = states.back().loss - relaxation_.bound;
  auto at = static_cast<std::uint32_t>(states.size() - 1);
  for (const std::vector<Step>& of_class : steps) {
    solution.choices.push_back(of_class[at].choice);
    at = of_class[at].rest;
  }
  return solution;
}

}  // namespace

std::optional<std::vector<std::int16_t>> knapsack_at_most(std::span<const KnapsackClass> classes,
                                                          std::int64_t limit) {
  std::int64_t least = 0;
  for (const KnapsackClass& one : classes) least += *std::min_element(one.costs.begin(), one.costs.end());
  if (least > limit) return std::nullopt;
  const AtMost problem(classes, limit);
  const double widest = problem.widest_gap();
  for (double gap = widest * first_share_of_gap;; gap = std::min(2 * gap, widest)) {
    const AtMost::Solution found = problem.within(gap);
    // All solutions within the gap were looked at: the least of them is the least of all.
    if (found.gap <= gap || gap >= widest) return found.choices;
  }
}

std::optional<std::vector<std::int16_t>> knapsack_exactly(std::span<const KnapsackClass> classes,
                                                          std::int64_t limit) {
  if (limit < 0) return std::nullopt;
  constexpr double none = std::numeric_limits<double>::infinity();
  const auto sums = static_cast<std::size_t>(limit) + 1;
  // Of the classes from some one on: the least loss at each sum, and the choice of the first of them.
  std::vector<double> best(sums, none), before(sums);
  best[0] = 0;
  std::vector<std::vector<std::int16_t>> choices(classes.size());
  for (std::size_t place = classes.size(); place-- > 0;) {
    const KnapsackClass& one = classes[place];
    std::swap(best, before);
    best.assign(sums, none);
    choices[place].assign(sums, 0);
    for (std::size_t choice = 0; choice < one.costs.size(); ++choice) {
      const auto cost = static_cast<std::size_t>(one.costs[choice]);
      for (std::size_t sum = cost; sum < sums; ++sum) {
        const double loss = before[sum - cost] + one.losses[choice];
        if (loss < best[sum]) {
          best[sum] = loss;
          choices[place][sum] = static_cast<std::int16_t>(choice);
        }
      }
    }
  }
  if (best.back() == none) return std::nullopt;
  std::vector<std::int16_t> solution;
  std::size_t sum = sums - 1;
  for (std::size_t place = 0; place < classes.size(); ++place) {
    solution.push_back(choices[place][sum]);
    sum -= static_cast<std::size_t>(classes[place].costs[static_cast<std::size_t>(solution.back())]);
  }
  return solution;
}

}  // namespace galapagos
