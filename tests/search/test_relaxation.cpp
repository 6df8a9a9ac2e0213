#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <numeric>

#include <galapagos/core/random.hpp>
#include <galapagos/search/relaxation.hpp>

using namespace galapagos;
using test::even_space;
using test::message_of;
using Vector = std::vector<double>;

namespace {

/// A loss that is quadratic in the levels: sum of bend (level - wanted)^2 / 2, every module's own.
struct Quadratic {
  Vector bends, wanted;

  Vector gradient(const RelaxedLevels& levels) const {
    Vector found;
    for (std::size_t i = 0; i < levels.size(); ++i) found.push_back(bends[i] * (levels[i] - wanted[i]));
    return found;
  }
};

Quadratic some_quadratic(std::size_t modules) {
  Quadratic loss;
  for (std::size_t i = 0; i < modules; ++i) {
    const auto place = static_cast<double>(i);
    // Modules of feed-forward parts cost three times as much.
    loss.bends.push_back(0.02 * (i % 2 == 0 ? 1 : 3) * (2 + 0.5 * std::sin(1.7 * place)));
    loss.wanted.push_back(-1 + std::cos(2.3 * place));  // every module would be larger than it may be
  }
  return loss;
}

/// Costs that fall by as much with every level of a module.
Vector falls_of(const SearchSpace& space, const BudgetRule& rule) {
  Vector falls(space.modules.size(), 0.0);
  for (std::size_t i = 0; i < rule.modules.size(); ++i)
    falls[rule.modules[i]] = static_cast<double>(rule.costs[i][0] - rule.costs[i][1]);
  return falls;
}

double cost_of(const BudgetRule& rule, const Vector& falls, const RelaxedLevels& levels) {
  double cost = 0;
  for (std::size_t i = 0; i < rule.modules.size(); ++i)
    cost += static_cast<double>(rule.costs[i][0]) - falls[rule.modules[i]] * levels[rule.modules[i]];
  return cost;
}

/// Where that loss is least under the rule, no level being at its end: level = wanted + multiplier fall /
/// bend.
Vector least_under(const SearchSpace& space, const BudgetRule& rule, const Quadratic& loss) {
  const Vector falls = falls_of(space, rule);
  double excess = cost_of(rule, falls, loss.wanted) - static_cast<double>(rule.limit), square = 0;
  for (const std::size_t i : rule.modules) square += falls[i] * falls[i] / loss.bends[i];
  Vector levels = loss.wanted;
  for (const std::size_t i : rule.modules) levels[i] += excess / square * falls[i] / loss.bends[i];
  return levels;
}

}  // namespace

TEST_CASE("levels go to where a quadratic loss is least under the budget", "[relaxation]") {
  const SearchSpace space = even_space(5, 8);
  const Quadratic loss = some_quadratic(space.modules.size());
  for (const bool by_level : {false, true}) {
    const Budget budget = by_level ? Budget::of_level(space, 4) : Budget::of_parameters(space, 100 + 900);
    Vector best(space.modules.size());
    for (const BudgetRule& rule : budget.rules()) {
      const Vector of_rule = least_under(space, rule, loss);
      for (const std::size_t i : rule.modules) best[i] = of_rule[i];
    }
    for (const double level : best) REQUIRE((level > 0 && level < 8));
    RelaxationOptions options;
    options.steps = 400;
    Relaxation found = relaxed(budget.uniform());
    RandomStream random(5, {1, 2, 3, 4});
    for (std::int64_t step = 0; step < options.steps; ++step) {
      Vector gradient = loss.gradient(found.levels);
      for (double& slope : gradient) slope += 0.05 * (static_cast<double>(random.next()) * 0x1p-32 - 0.5);
      advance(space, budget, options, gradient, found);
      for (const BudgetRule& rule : budget.rules())
        CHECK(std::abs(cost_of(rule, falls_of(space, rule), found.levels) - static_cast<double>(rule.limit)) <
              1e-6);
    }
    for (std::size_t i = 0; i < best.size(); ++i) CHECK(std::abs(found.settled[i] - best[i]) < 0.2);
    const Assignment assignment = nearest(space, budget, found);
    CHECK(budget.met_by(assignment));
    double furthest = 0;
    for (std::size_t i = 0; i < best.size(); ++i)
      furthest = std::max(furthest, std::abs(assignment[i] - best[i]));
    CHECK(furthest < 1.2);
  }
}

TEST_CASE("the nearest assignment to whole levels is they themselves", "[relaxation]") {
  const SearchSpace space = even_space(3, 4);
  const Budget budget = Budget::of_level(space, 2);
  Relaxation found = relaxed({1, 3, 4, 0, 1, 3});
  found.slope = Vector(6, 0.1);
  CHECK(nearest(space, budget, found) == Assignment{1, 3, 4, 0, 1, 3});
}

TEST_CASE("what was learned so far comes back to the last bit", "[relaxation]") {
  const SearchSpace space = even_space(3, 4);
  const Budget budget = Budget::of_parameters(space, 300);
  Relaxation found = relaxed(budget.uniform());
  RelaxationOptions options;
  options.steps = 7;
  const Quadratic loss = some_quadratic(6);
  for (int step = 0; step < 5; ++step) advance(space, budget, options, loss.gradient(found.levels), found);
  Relaxation again = Relaxation::from_json(found.to_json(), space, "levels.json");
  CHECK(again.step == 5);
  for (int step = 0; step < 2; ++step) {
    advance(space, budget, options, loss.gradient(found.levels), found);
    advance(space, budget, options, loss.gradient(again.levels), again);
  }
  CHECK(again.levels == found.levels);
  CHECK(again.settled == found.settled);
  CHECK(again.to_json() == found.to_json());
  for (const std::string& text :
       {std::string("{"), std::string("{}"), std::string("[1]"), found.to_json().substr(0, 40),
        relaxed({1, 2}).to_json(), relaxed({1, 2, 3, 4, 5, 2}).to_json()}) {
    CHECK(test::contains(message_of<InputError>([&] { Relaxation::from_json(text, space, "levels.json"); }),
                         "levels.json"));
  }
}
