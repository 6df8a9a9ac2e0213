#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <map>
#include <random>
#include <set>

#include <galapagos/search/breeding.hpp>
#include <galapagos/search/mutation.hpp>

using namespace galapagos;

namespace {

RandomStream numbered(std::uint32_t number) {
  return {11, {1, number, 0, 2}};
}

// Budgets of several kinds over a space, with a name for messages.
std::vector<std::pair<std::string, Budget>> budgets_of(const SearchSpace& space) {
  std::vector<std::pair<std::string, Budget>> budgets;
  budgets.emplace_back("parameters",
                       Budget::of_parameters(space, space.fixed_parameters + space.dense_parameters() / 2));
  // A second limit, under which a further level may cost more.
  BudgetRule parameters = parameter_rule(space, space.fixed_parameters + space.dense_parameters() / 2);
  BudgetRule other = parameters;
  other.unit = "other";
  std::int64_t most = 0;
  for (std::size_t i = 0; i < other.costs.size(); ++i) {
    for (std::size_t level = 0; level < other.costs[i].size(); ++level)
      other.costs[i][level] =
          static_cast<std::int64_t>(100 * (other.costs[i].size() - level) + 37 * ((i + level) % 3));
    most += other.costs[i].front();
  }
  other.limit = most * 6 / 10;
  budgets.emplace_back("two limits", Budget::within({parameters, other}));
  return budgets;
}

bool full(const Budget& budget, Assignment assignment) {
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (assignment[i] == 0) continue;
    --assignment[i];
    if (budget.met_by(assignment)) return false;
    ++assignment[i];
  }
  return true;
}

void check_bred(const std::string& name, const SearchSpace& space, const Budget& budget) {
  INFO(name);
  RandomStream starts = numbered(1);
  EndLosses losses;
  std::mt19937 random(4);
  for (const ModuleChoices& module : space.modules) {
    losses.push_back({0});
    while (losses.back().size() < module.parameters.size())
      losses.back().push_back(losses.back().back() + random() % 9);
  }
  std::map<Origin, std::set<Assignment>> made;
  for (std::uint32_t round = 0; round < 40; ++round) {
    const Assignment parent = random_assignment(budget, starts);
    const std::vector<Assignment> mates = {random_assignment(budget, starts),
                                           random_assignment(budget, starts)};
    const Breeding breeding{budget, parent, mates, losses, 0.5};
    for (const Origin way : ways_to_breed(breeding)) {
      INFO(name_of(way) << " in round " << round);
      RandomStream stream = numbered(100 + round), again = numbered(100 + round);
      const auto child = breed(way, breeding, stream);
      CHECK(child == breed(way, breeding, again));
      if (!child) continue;
      CHECK(budget.met_by(*child));
      if (*child != parent) made[way].insert(*child);
      if (way == Origin::removal) {
        std::int64_t gone = 0;
        for (std::size_t i = 0; i < child->size(); ++i)
          gone += (*child)[i] == space.modules[i].last() && parent[i] != space.modules[i].last() ? 1 : 0;
        CHECK(gone >= 1);
      }
      if (way == Origin::stride) {
        std::int64_t most = 0;
        for (std::size_t i = 0; i < child->size(); ++i)
          most = std::max<std::int64_t>(most, parent[i] - (*child)[i]);
        CHECK(most >= 2);
      }
    }
  }
  const std::vector<Assignment> none;
  const Assignment uniform = budget.uniform();
  const EndLosses nothing;
  for (const Origin way : ways_to_breed({budget, uniform, none, nothing, 1})) {
    CHECK(way != Origin::crossover);
    CHECK(way != Origin::exchange);
  }
  for (const auto& [way, children] : made) {
    INFO(name_of(way));
    CHECK(children.size() > 15);
  }
}

}  // namespace

TEST_CASE("every way to breed keeps to the budget and leads somewhere", "[breeding]") {
  const SearchSpace even = test::even_space(6, 5);
  check_bred("levels", even, Budget::of_level(even, 2));
  for (const auto& [name, budget] : budgets_of(even)) check_bred(name, even, budget);
  std::mt19937 random(8);
  for (int i = 0; i < 3; ++i) {
    const SearchSpace uneven = test::uneven_space(random, 8);
    check_bred("uneven", uneven,
               Budget::of_parameters(uneven, uneven.fixed_parameters + uneven.dense_parameters() / 2));
  }
}

TEST_CASE("experts move by themselves and with all of their layer", "[breeding]") {
  constexpr std::int64_t experts = 6;
  const SearchSpace space = test::mixture_space(4, experts, 5);
  for (const auto& [name, budget] : budgets_of(space)) check_bred("mixture, " + name, space, budget);
  const Budget budget = Budget::of_parameters(space, space.fixed_parameters + space.dense_parameters() / 2);
  RandomStream random = numbered(3);
  const std::vector<Assignment> none;
  const EndLosses nothing;
  std::map<Origin, std::set<std::int64_t>> grown_together;  // experts of a layer that grew by one or more
  std::int64_t between_parts = 0, tried = 0;
  for (int round = 0; round < 200; ++round) {
    const Assignment parent = random_assignment(budget, random);
    for (const Origin way : {Origin::mutation, Origin::stride, Origin::layer}) {
      const auto child = breed(way, {budget, parent, none, nothing, 1}, random);
      if (!child) continue;
      bool exchanged = false;
      for (std::size_t layer = 0; layer < 4; ++layer) {
        const std::size_t attention = layer * (experts + 1);
        std::int64_t grown = 0, shrunk = 0;
        for (std::size_t i = attention + 1; i <= attention + experts; ++i) {
          grown += (*child)[i] < parent[i] ? 1 : 0;
          shrunk += (*child)[i] > parent[i] ? 1 : 0;
        }
        grown_together[way].insert(grown);
        exchanged = exchanged || (grown > 0 && (*child)[attention] > parent[attention]) ||
                    (shrunk > 0 && (*child)[attention] < parent[attention]);
      }
      tried += way == Origin::layer ? 1 : 0;
      between_parts += way == Origin::layer && exchanged ? 1 : 0;
    }
  }
  CHECK(tried > 50);
  CHECK(between_parts == tried);
  for (const Origin way : {Origin::mutation, Origin::stride}) {
    CHECK(grown_together[way].contains(1));
    CHECK(grown_together[way].contains(experts));
  }
}

TEST_CASE("anything is restored into the budget, and what is pinned stays where that can be", "[breeding]") {
  const SearchSpace space = test::even_space(5, 4);
  std::mt19937 random(12);
  std::vector<std::pair<std::string, Budget>> budgets = budgets_of(space);
  budgets.emplace_back("levels", Budget::of_level(space, 2));
  for (const auto& [name, budget] : budgets) {
    INFO(name);
    for (int round = 0; round < 200; ++round) {
      Assignment assignment;
      for (const ModuleChoices& module : space.modules)
        assignment.push_back(static_cast<std::int16_t>(random() % static_cast<unsigned>(module.last() + 1)));
      std::vector<bool> pinned(assignment.size(), false);
      const std::size_t pin = random() % assignment.size();
      pinned[pin] = true;
      const Assignment before = assignment;
      CHECK(restore(budget, assignment, pinned, [&](const auto& moves) { return random() % moves.size(); }));
      CHECK(budget.met_by(assignment));
      CHECK(assignment[pin] == before[pin]);
      if (!budget.rules().front().exact) {
        assignment[pin] = 0;  // whatever else could grow has grown
        Assignment others = assignment;
        others[pin] = before[pin];
        for (std::size_t i = 0; i < others.size(); ++i) {
          if (i == pin || others[i] == 0) continue;
          --others[i];
          CHECK(!budget.met_by(others));
          ++others[i];
        }
      }
      if (budget.met_by(before) && full(budget, before)) {
        Assignment same = before;
        CHECK(restore(budget, same, pinned, [&](const auto& moves) { return random() % moves.size(); }));
        CHECK(same == before);
      }
    }
    // Pinned everywhere: the budget comes first.
    Assignment largest(space.modules.size(), 0);
    CHECK(restore(budget, largest, std::vector<bool>(largest.size(), true),
                  [](const auto&) { return std::size_t{0}; }));
    CHECK(budget.met_by(largest));
  }
}

TEST_CASE("exchanges go by what they are expected to gain, more so at a low temperature", "[breeding]") {
  const SearchSpace space = test::even_space(4, 4);
  const Budget budget = Budget::of_level(space, 2);
  // Attention of layer 0 gains most by growing, of layer 3 loses least by shrinking.
  EndLosses losses(space.modules.size(), {0, 1, 2, 3, 4});
  losses[0] = {0, 5, 10, 15, 20};
  losses[6] = {0, 0.1, 0.2, 0.3, 0.4};
  const std::vector<Assignment> none;
  const Assignment uniform = budget.uniform();
  std::vector<int> best;
  for (const double temperature : {0.2, 1.0, 50.0}) {
    const Breeding breeding{budget, uniform, none, losses, temperature};
    int count = 0;
    for (std::uint32_t i = 0; i < 400; ++i) {
      RandomStream stream = numbered(i);
      const auto child = breed(Origin::exchange, breeding, stream);
      REQUIRE(child);
      if ((*child)[0] == 1 && (*child)[6] == 3) ++count;
    }
    best.push_back(count);
  }
  CHECK(best[0] > 380);
  CHECK(best[0] > best[1]);
  CHECK(best[1] > 2 * best[2]);
}
