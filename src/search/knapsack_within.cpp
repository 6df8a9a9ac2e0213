#include <algorithm>
#include <cmath>
#include <limits>

#include <galapagos/search/knapsack.hpp>
#include <galapagos/search/knapsack_within.hpp>

namespace galapagos {
namespace {

using Choices = std::vector<std::int16_t>;
using Prices = std::vector<double>;

/// The problem with its limits scaled to about 1.
class Problem {
 public:
  Problem(std::span<const LimitedClass> classes, std::span<const std::int64_t> limits)
      : classes_(classes), limits_(limits) {
    for (const std::int64_t limit : limits)
      scales_.push_back(1 / static_cast<double>(std::max<std::int64_t>(limit, 1)));
  }

  std::size_t size() const { return classes_.size(); }
  std::size_t limits() const { return limits_.size(); }
  std::size_t choices(std::size_t i) const { return classes_[i].losses.size(); }
  double loss(std::size_t i, std::size_t choice) const { return classes_[i].losses[choice]; }
  std::int64_t cost(std::size_t i, std::size_t limit, std::size_t choice) const {
    return classes_[i].costs[limit][choice];
  }
  double scaled(std::size_t limit, std::int64_t cost) const {
    return static_cast<double>(cost) * scales_[limit];
  }
  std::int64_t limit(std::size_t limit) const { return limits_[limit]; }

  double loss(const Choices& taken) const {
    double sum = 0;
    for (std::size_t i = size(); i-- > 0;) sum += loss(i, static_cast<std::size_t>(taken[i]));
    return sum;
  }
  std::vector<std::int64_t> costs(const Choices& taken) const {
    std::vector<std::int64_t> sums(limits(), 0);
    for (std::size_t i = 0; i < size(); ++i)
      for (std::size_t limit = 0; limit < limits(); ++limit)
        sums[limit] += cost(i, limit, static_cast<std::size_t>(taken[i]));
    return sums;
  }
  bool fits(const std::vector<std::int64_t>& sums) const {
    for (std::size_t limit = 0; limit < limits(); ++limit)
      if (sums[limit] > limits_[limit]) return false;
    return true;
  }
  /// By how much the limits are exceeded, as shares of them.
  double excess(const std::vector<std::int64_t>& sums) const {
    double sum = 0;
    for (std::size_t limit = 0; limit < limits(); ++limit)
      sum += scaled(limit, std::max<std::int64_t>(sums[limit] - limits_[limit], 0));
    return sum;
  }

  /// What a choice loses and costs at prices, but for the limit `without`.
  double priced(std::size_t i, std::size_t choice, const Prices& prices, std::size_t without) const {
    double value = loss(i, choice);
    for (std::size_t limit = 0; limit < limits(); ++limit)
      if (limit != without) value += prices[limit] * scaled(limit, cost(i, limit, choice));
    return value;
  }

  struct Relaxed {
    Choices taken;
    double bound = 0;
  };
  /// Every class by itself.
  Relaxed relax(const Prices& prices) const {
    Relaxed found;
    for (std::size_t i = 0; i < size(); ++i) {
      std::size_t best = 0;
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t choice = 0; choice < choices(i); ++choice) {
        const double value = priced(i, choice, prices, limits());
        if (value < least) {
          least = value;
          best = choice;
        }
      }
      found.taken.push_back(static_cast<std::int16_t>(best));
      found.bound += least;
    }
    for (std::size_t limit = 0; limit < limits(); ++limit) found.bound -= price_of(limit, prices);
    return found;
  }
  double price_of(std::size_t limit, const Prices& prices) const {
    return prices[limit] * scaled(limit, limits_[limit]);
  }
  /// Greater than any difference of losses.
  double spread() const {
    double sum = 0;
    for (const LimitedClass& one : classes_) {
      const auto [least, most] = std::minmax_element(one.losses.begin(), one.losses.end());
      sum += *most - *least;
    }
    return sum > 0 ? sum : 1;
  }

 private:
  std::span<const LimitedClass> classes_;
  std::span<const std::int64_t> limits_;
  std::vector<double> scales_;
};

/// Prices at which the bound is great.
Prices best_prices(const Problem& problem) {
  Prices prices(problem.limits(), 0.0), best = prices;
  double bound = -std::numeric_limits<double>::infinity();
  const double spread = problem.spread();
  const auto excess_at = [&](std::size_t limit) {
    const Problem::Relaxed found = problem.relax(prices);
    if (found.bound > bound) {
      bound = found.bound;
      best = prices;
    }
    return problem.costs(found.taken)[limit] - problem.limit(limit);
  };
  constexpr int rounds = 12, most_doublings = 60, halvings = 40;
  for (int round = 0; round < rounds; ++round) {
    const Prices before = prices;
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
    const Problem::Relaxed found = problem.relax(prices);
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

void apply(const Problem& problem, Choices& taken, std::vector<std::int64_t>& sums, const Change& change) {
  const auto from = static_cast<std::size_t>(taken[change.i]), to = static_cast<std::size_t>(change.choice);
  for (std::size_t limit = 0; limit < problem.limits(); ++limit)
    sums[limit] += problem.cost(change.i, limit, to) - problem.cost(change.i, limit, from);
  taken[change.i] = change.choice;
}

template <typename Visit>
void for_changes(const Problem& problem, const Choices& taken, std::size_t i, Visit&& visit) {
  for (std::size_t choice = 0; choice < problem.choices(i); ++choice)
    if (choice != static_cast<std::size_t>(taken[i])) visit(Change{i, static_cast<std::int16_t>(choice)});
}

double gained_loss(const Problem& problem, const Choices& taken, const Change& change) {
  return problem.loss(change.i, static_cast<std::size_t>(change.choice)) -
         problem.loss(change.i, static_cast<std::size_t>(taken[change.i]));
}

/// Changes choices until the limits are kept; false where no single change brings them nearer.
bool make_fit(const Problem& problem, Choices& taken) {
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
void make_better(const Problem& problem, Choices& taken) {
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
    Choices other = taken;
    std::vector<std::int64_t> then = sums;
    for (const Change& change : best) apply(problem, other, then, change);
    if (best.empty() || !(problem.loss(other) < before)) return;
    taken = std::move(other);
    sums = std::move(then);
  }
}

/// The exact solution under one limit, the others priced.
Problem::Relaxed under_one_limit(const Problem& problem, const Prices& prices, std::size_t exact) {
  std::vector<KnapsackClass> classes;
  for (std::size_t i = 0; i < problem.size(); ++i) {
    KnapsackClass& one = classes.emplace_back();
    for (std::size_t choice = 0; choice < problem.choices(i); ++choice) {
      one.costs.push_back(problem.cost(i, exact, choice));
      one.losses.push_back(problem.priced(i, choice, prices, exact));
    }
  }
  Problem::Relaxed found;
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
Choices cheapest(const Problem& problem) {
  Choices taken;
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
  const Problem problem(classes, limits);
  const Prices prices = best_prices(problem);
  const Problem::Relaxed relaxed = problem.relax(prices);
  LimitedSolution best;
  best.loss = std::numeric_limits<double>::infinity();
  best.bound = relaxed.bound;
  std::vector<Choices> begins = {relaxed.taken};
  for (std::size_t limit = 0; limit < limits.size(); ++limit) {
    Problem::Relaxed found = under_one_limit(problem, prices, limit);
    if (found.taken.empty() && !classes.empty()) return std::nullopt;
    best.bound = std::max(best.bound, found.bound);
    begins.push_back(std::move(found.taken));
  }
  begins.push_back(cheapest(problem));
  for (std::size_t i = 0; i < begins.size(); ++i) {
    Choices& taken = begins[i];
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
