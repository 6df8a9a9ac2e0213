#include <algorithm>
#include <cmath>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/relaxation.hpp>

namespace galapagos {
namespace {

using Vector = std::vector<double>;

constexpr double memory_of_slope = 0.9, memory_of_squares = 0.95;
constexpr double least_price = 1e-3;  // of a level that costs nothing, by the greatest
constexpr int most_corrections = 50;

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// A budget's rule at levels between levels: what it costs beyond its limit, and by how much each module's
/// cost falls with its level, both in units of the mean fall.
struct RelaxedRule {
  double excess = 0;
  Vector falls;
  bool exact = false;
};

RelaxedRule rule_at(const SearchSpace& space, const BudgetRule& rule, const RelaxedLevels& levels) {
  RelaxedRule found{-static_cast<double>(rule.limit), Vector(levels.size(), 0.0), rule.exact};
  for (std::size_t i = 0; i < rule.modules.size(); ++i) {
    const std::size_t module = rule.modules[i];
    if (space.modules[module].last() == 0) {
      found.excess += static_cast<double>(rule.costs[i].front());
      continue;
    }
    const auto below = static_cast<std::size_t>(level_below(space.modules[module], levels[module]));
    const auto lower = static_cast<double>(rule.costs[i][below]),
               upper = static_cast<double>(rule.costs[i][below + 1]);
    found.falls[module] = lower - upper;
    found.excess += lower - (levels[module] - static_cast<double>(below)) * (lower - upper);
  }
  double unit = 0;
  for (const double fall : found.falls) unit += std::abs(fall) / static_cast<double>(rule.modules.size());
  if (unit == 0) unit = 1;
  for (double& fall : found.falls) fall /= unit;
  found.excess /= unit;
  return found;
}

bool binds(const RelaxedRule& rule) {
  constexpr double nearly = 0.5;  // of a mean level
  return rule.exact || rule.excess > -nearly;
}

/// What a level of each module is worth by the rules that bind, from the gradient by the levels: one
/// multiplier after the other, by least squares on what the others leave.
Vector prices(const SearchSpace& space, const Budget& budget, const RelaxedLevels& levels,
              const Vector& slope) {
  Vector sum(levels.size(), 0.0);
  std::vector<RelaxedRule> rules;
  for (const BudgetRule& rule : budget.rules()) {
    rules.push_back(rule_at(space, rule, levels));
    if (!binds(rules.back())) rules.pop_back();
  }
  Vector multipliers(rules.size(), 0.0);
  constexpr int sweeps = 20;
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    for (std::size_t k = 0; k < rules.size(); ++k) {
      const Vector& falls = rules[k].falls;
      const double square = dot(falls, falls);
      if (square == 0) continue;
      Vector rest = slope;
      for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= sum[i] - multipliers[k] * falls[i];
      const double best = dot(rest, falls) / square;
      const double next = rules[k].exact ? best : std::max(0.0, best);
      for (std::size_t i = 0; i < rest.size(); ++i) sum[i] += (next - multipliers[k]) * falls[i];
      multipliers[k] = next;
    }
  }
  return sum;
}

/// Moves levels along the costs until no limit is exceeded by more than rounding, nor missed by one that has
/// to be met.
void correct(const SearchSpace& space, const Budget& budget, RelaxedLevels& levels) {
  constexpr double tolerance = 1e-9;
  for (int i = 0; i < most_corrections; ++i) {
    bool moved = false;
    for (const BudgetRule& rule : budget.rules()) {
      const RelaxedRule at = rule_at(space, rule, levels);
      const bool alone = budget.rules().size() == 1;  // the loss would always use the room
      if (at.excess <= tolerance && (at.excess >= -tolerance || !(rule.exact || alone))) continue;
      // Not those that are at their end already, nor, to use what is left, by more pruning.
      Vector falls = at.falls;
      for (std::size_t m = 0; m < levels.size(); ++m) {
        const bool up = falls[m] * at.excess > 0, down = falls[m] * at.excess < 0;
        if ((up && (levels[m] >= space.modules[m].last() || (!rule.exact && at.excess < 0))) ||
            (down && levels[m] <= 0))
          falls[m] = 0;
      }
      const double square = dot(falls, falls);
      if (square == 0) continue;
      for (std::size_t m = 0; m < levels.size(); ++m) {
        const double last = space.modules[m].last();
        levels[m] = std::clamp(levels[m] + falls[m] * at.excess / square, 0.0, last);
      }
      moved = true;
    }
    if (!moved) return;
  }
}

}  // namespace

std::string Relaxation::to_json() const {
  Json json;
  json["step"] = step;
  json["levels"] = levels;
  json["settled"] = settled;
  json["slope"] = slope;
  json["squares"] = squares;
  json["variance"] = variance;
  return json.dump();
}

Relaxation Relaxation::from_json(const std::string& text, const SearchSpace& space,
                                 const std::string& where) {
  Relaxation found;
  try {
    const Json json = Json::parse(text);
    found = {json.at("step"),  json.at("levels"),  json.at("settled"),
             json.at("slope"), json.at("squares"), json.at("variance")};
  } catch (const Json::exception&) {
    found.step = -1;
  }
  const std::size_t modules = space.modules.size();
  bool fits = found.step >= 0;
  for (const Vector* values : {&found.levels, &found.settled, &found.slope, &found.squares, &found.variance})
    fits = fits && values->size() == modules;
  for (std::size_t i = 0; fits && i < modules; ++i) {
    const double last = space.modules[i].last();
    for (const double level : {found.levels[i], found.settled[i]}) fits = fits && level >= 0 && level <= last;
  }
  if (!fits) {
    throw InputError("the levels learned so far are damaged", where, "begin the search anew with --fresh");
  }
  return found;
}

Relaxation relaxed(const Assignment& assignment) {
  Relaxation begin;
  begin.levels.assign(assignment.begin(), assignment.end());
  begin.settled = begin.levels;
  begin.slope.assign(assignment.size(), 0.0);
  begin.squares.assign(assignment.size(), 0.0);
  begin.variance.assign(assignment.size(), 0.0);
  return begin;
}

Relaxation moved(const SearchSpace& space, const Budget& budget, const Relaxation& from) {
  Relaxation begin = from;
  begin.step = 0;
  begin.levels = from.settled;
  correct(space, budget, begin.levels);
  begin.settled = begin.levels;
  begin.slope.assign(begin.levels.size(), 0.0);
  begin.squares = begin.slope;
  return begin;
}

void advance(const SearchSpace& space, const Budget& budget, const RelaxationOptions& options,
             const std::vector<double>& gradient, Relaxation& relaxation) {
  const std::size_t modules = gradient.size();
  const std::int64_t step = ++relaxation.step;
  Vector slope(modules);  // without the zeros that the mean began with
  for (std::size_t i = 0; i < modules; ++i) {
    double& mean = relaxation.slope[i];
    mean = memory_of_slope * mean + (1 - memory_of_slope) * gradient[i];
    slope[i] = mean / (1 - std::pow(memory_of_slope, static_cast<double>(step)));
  }
  if (step == 1) relaxation.variance.assign(modules, options.spread * options.spread);
  const Vector price = prices(space, budget, relaxation.levels, slope);
  double most = 0, mean_price = 0, mean = 0;
  for (std::size_t i = 0; i < modules; ++i) {
    most = std::max(most, std::abs(price[i]));
    mean_price += std::abs(price[i]) / static_cast<double>(modules);
    mean += std::abs(slope[i]) / static_cast<double>(modules);
  }
  for (std::size_t i = 0; i < modules; ++i) {
    const double rest = gradient[i] - price[i];
    double& square = relaxation.squares[i];
    square = memory_of_squares * square + (1 - memory_of_squares) * rest * rest;
    const double mean_square = square / (1 - std::pow(memory_of_squares, static_cast<double>(step)));
    const double worth = std::abs(price[i]);
    const double unit = worth > least_price * most ? worth : most > 0 ? mean_price : mean;
    const double noise = mean_square + unit * unit;
    const double bend = unit / std::max(1.0, relaxation.levels[i]);
    if (!(bend > 0 && noise > 0)) continue;
    double& variance = relaxation.variance[i];
    const double move = variance * bend * rest / (variance * bend * bend + noise);
    const double last = space.modules[i].last();
    relaxation.levels[i] = std::clamp(relaxation.levels[i] - move, 0.0, last);
    variance = 1 / (1 / variance + bend * bend / noise);
  }
  correct(space, budget, relaxation.levels);
  const std::int64_t half = options.steps / 2;
  const auto counted = static_cast<double>(step > half ? step - half : 1);
  for (std::size_t i = 0; i < modules; ++i)
    relaxation.settled[i] += (relaxation.levels[i] - relaxation.settled[i]) / counted;
}

EndLosses losses_near(const SearchSpace& space, const Budget& budget, const Relaxation& relaxation,
                      const std::vector<double>& factors) {
  const Vector price = prices(space, budget, relaxation.settled, relaxation.slope);
  const double most = *std::max_element(price.begin(), price.end());
  EndLosses losses;
  for (std::size_t i = 0; i < price.size(); ++i) {
    // One that costs nothing still goes where it was learned to go.
    double unit = std::max(price[i], most > 0 ? least_price * most : 1.0);
    if (!factors.empty()) unit *= factors[i];
    Vector& of_module = losses.emplace_back();
    for (std::int64_t level = 0; level <= space.modules[i].last(); ++level) {
      const double distance = static_cast<double>(level) - relaxation.settled[i];
      of_module.push_back(unit * (distance * distance + static_cast<double>(level)));
    }
  }
  return losses;
}

Assignment nearest(const SearchSpace& space, const Budget& budget, const Relaxation& relaxation,
                   const std::vector<double>& factors) {
  return least_loss(space, budget, losses_near(space, budget, relaxation, factors));
}

}  // namespace galapagos
