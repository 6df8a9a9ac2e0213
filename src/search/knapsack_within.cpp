#include "limited_problem.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

#include <galapagos/search/knapsack.hpp>
#include <galapagos/search/knapsack_within.hpp>

namespace galapagos {
namespace {

/// LimitPrices at which the bound is great.
LimitPrices best_prices(const LimitedProblem& problem) {
  LimitPrices prices(problem.limits(), 0.0), best = prices;
  double bound = -std::numeric_limits<double>::infinity();
  const double spread = problem.spread();
  const auto excess_at = [&](std::size_t limit) {
    const LimitedProblem::Relaxed found = problem.relax(prices);
    if (found.bound > bound) {
      bound = found.bound;
      best = prices;
    }
    return problem.costs(found.taken)[limit] - problem.limit(limit);
  };
  constexpr int rounds = 12, most_doublings = 60, halvings = 40;
  for (int round = 0; round < rounds; ++round) {
    const LimitPrices before = prices;
    for (std::size_t limit = 0; limit < problem.limits(); ++limit) {
      prices[limit] = 0;
      if (excess_at(limit) <= 0) continue;
      double low = 0, high = spread * 1e-6;
      for (int i = 0; i < most_doublings; ++i, low = high, high *= 2) {
        prices[limit] = high;
        if (excess_at(limit) <= 0) break;
      }
      for (int i = 0; i < halvings; ++i) {
        prices[limit] = low + (high - low) / 2;
        (excess_at(limit) <= 0 ? high : low) = prices[limit];
      }
      prices[limit] = high;
    }
    if (prices == before) break;
  }
  // Where one price at a time goes no further, all together may.
  constexpr int steps = 200;
  prices = best;
  double largest = 0;
  for (const double price : best) largest = std::max(largest, price);
  for (int step = 1; step <= steps; ++step) {
    const LimitedProblem::Relaxed found = problem.relax(prices);
    if (found.bound > bound) {
      bound = found.bound;
      best = prices;
    }
    const std::vector<std::int64_t> sums = problem.costs(found.taken);
    for (std::size_t limit = 0; limit < problem.limits(); ++limit) {
      const double slope = problem.scaled(limit, sums[limit] - problem.limit(limit));
      prices[limit] = std::max(0.0, prices[limit] + largest / step * slope);
    }
  }
  return best;
}

/// Another choice of a class.
struct Change {
  std::size_t i = 0;
  std::int16_t choice = 0;
};

void apply(const LimitedProblem& problem, TakenChoices& taken, std::vector<std::int64_t>& sums,
           const Change& change) {
  const auto from = static_cast<std::size_t>(taken[change.i]), to = static_cast<std::size_t>(change.choice);
  for (std::size_t limit = 0; limit < problem.limits(); ++limit)
    sums[limit] += problem.cost(change.i, limit, to) - problem.cost(change.i, limit, from);
  taken[change.i] = change.choice;
}

template <typename Visit>
void for_changes(const LimitedProblem& problem, const TakenChoices& taken, std::size_t i, Visit&& visit) {
  for (std::size_t choice = 0; choice < problem.choices(i); ++choice)
    if (choice != static_cast<std::size_t>(taken[i])) visit(Change{i, static_cast<std::int16_t>(choice)});
}

double gained_loss(const LimitedProblem& problem, const TakenChoices& taken, const Change& change) {
  return problem.loss(change.i, static_cast<std::size_t>(change.choice)) -
         problem.loss(change.i, static_cast<std::size_t>(taken[change.i]));
}

/// Changes choices until the limits are kept; false where no single change brings them nearer.
bool make_fit(const LimitedProblem& problem, TakenChoices& taken) {
  std::vector<std::int64_t> sums = problem.costs(taken);
  while (!problem.fits(sums)) {
    const double excess = problem.excess(sums);
    double least = std::numeric_limits<double>::infinity();
    Change best;
    for (std::size_t i = 0; i < problem.size(); ++i) {
      for_changes(problem, taken, i, [&](const Change& change) {
        std::vector<std::int64_t> then = sums;
        for (std::size_t limit = 0; limit < problem.limits(); ++limit)
          then[limit] += problem.cost(i, limit, static_cast<std::size_t>(change.choice)) -
                         problem.cost(i, limit, static_cast<std::size_t>(taken[i]));
        const double saved = excess - problem.excess(then);
        if (!(saved > 0)) return;
        const double loss = gained_loss(problem, taken, change);
        const double value = loss > 0 ? loss / saved : loss * saved;
        if (value < least) {
          least = value;
          best = change;
        }
      });
    }
    if (std::isinf(least)) return false;
    apply(problem, taken, sums, best);
  }
  return true;
}

/// Changes one class or two together, the best change first, as long as that loses less.
void make_better(const LimitedProblem& problem, TakenChoices& taken) {
  std::vector<std::int64_t> sums = problem.costs(taken);
  const auto room_for = [&](const Change& change, const std::vector<std::int64_t>& now, std::int64_t* left) {
    bool fits = true;
    for (std::size_t limit = 0; limit < problem.limits(); ++limit) {
      left[limit] = now[limit] + problem.cost(change.i, limit, static_cast<std::size_t>(change.choice)) -
                    problem.cost(change.i, limit, static_cast<std::size_t>(taken[change.i]));
      fits = fits && left[limit] <= problem.limit(limit);
    }
    return fits;
  };
  std::vector<std::int64_t> one(problem.limits()), two(problem.limits());
  for (;;) {
    double least = 0;
    std::vector<Change> best;
    const auto offer = [&](double loss, std::initializer_list<Change> changes) {
      least = loss;
      best.assign(changes);
    };
    for (std::size_t i = 0; i < problem.size(); ++i) {
      for_changes(problem, taken, i, [&](const Change& first) {
        const double loss = gained_loss(problem, taken, first);
        if (room_for(first, sums, one.data()) && loss < least) offer(loss, {first});
        for (std::size_t j = i + 1; j < problem.size(); ++j) {
          for_changes(problem, taken, j, [&](const Change& second) {
            const double both = loss + gained_loss(problem, taken, second);
            if (both < least && room_for(second, one, two.data())) offer(both, {first, second});
          });
        }
      });
    }
    const double before = problem.loss(taken);
    TakenChoices other = taken;
    std::vector<std::int64_t> then = sums;
    for (const Change& change : best) apply(problem, other, then, change);
    if (best.empty() || !(problem.loss(other) < before)) return;
    taken = std::move(other);
    sums = std::move(then);
  }
}

/// The exact solution under one limit, the others priced.
LimitedProblem::Relaxed under_one_limit(const LimitedProblem& problem, const LimitPrices& prices,
                                        std::size_t exact) {
  std::vector<KnapsackClass> classes;
  for (std::size_t i = 0; i < problem.size(); ++i) {
    KnapsackClass& one = classes.emplace_back();
    for (std::size_t choice = 0; choice < problem.choices(i); ++choice) {
      one.costs.push_back(problem.cost(i, exact, choice));
      one.losses.push_back(problem.priced(i, choice, prices, exact));
    }
  }
  LimitedProblem::Relaxed found;
  const auto taken = knapsack_at_most(classes, problem.limit(exact));
  if (!taken) return {{}, -std::numeric_limits<double>::infinity()};
  found.taken = *taken;
  for (std::size_t i = 0; i < problem.size(); ++i)
    found.bound += classes[i].losses[static_cast<std::size_t>(found.taken[i])];
  for (std::size_t limit = 0; limit < problem.limits(); ++limit)
    if (limit != exact) found.bound -= problem.price_of(limit, prices);
  return found;
}

/// The choices of least cost, of all limits together as shares of them.
TakenChoices cheapest(const LimitedProblem& problem) {
  TakenChoices taken;
  for (std::size_t i = 0; i < problem.size(); ++i) {
    std::size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t choice = 0; choice < problem.choices(i); ++choice) {
      double sum = 0;
      for (std::size_t limit = 0; limit < problem.limits(); ++limit)
        sum += problem.scaled(limit, problem.cost(i, limit, choice));
      if (sum < least) {
        least = sum;
        best = choice;
      }
    }
    taken.push_back(static_cast<std::int16_t>(best));
  }
  return taken;
}

}  // namespace

std::optional<LimitedSolution> knapsack_within(std::span<const LimitedClass> classes,
                                               std::span<const std::int64_t> limits) {
  const LimitedProblem problem(classes, limits);
  const LimitPrices prices = best_prices(problem);
  const LimitedProblem::Relaxed relaxed = problem.relax(prices);
  LimitedSolution best;
  best.loss = std::numeric_limits<double>::infinity();
  best.bound = relaxed.bound;
  std::vector<TakenChoices> begins = {relaxed.taken};
  for (std::size_t limit = 0; limit < limits.size(); ++limit) {
    LimitedProblem::Relaxed found = under_one_limit(problem, prices, limit);
    if (found.taken.empty() && !classes.empty()) return std::nullopt;
    best.bound = std::max(best.bound, found.bound);
    begins.push_back(std::move(found.taken));
  }
  begins.push_back(cheapest(problem));
  for (std::size_t i = 0; i < begins.size(); ++i) {
    TakenChoices& taken = begins[i];
    // The cheapest is where nothing better is to be had.
    if (i + 1 == begins.size() && !best.choices.empty()) break;
    if (!make_fit(problem, taken)) continue;
    make_better(problem, taken);
    if (const double loss = problem.loss(taken); loss < best.loss) {
      best.loss = loss;
      best.choices = std::move(taken);
    }
  }
  if (std::isinf(best.loss)) return std::nullopt;
  best.bound = std::min(best.bound, best.loss);
  return best;
}

}  // namespace galapagos
