#include "assignment/small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/search/evolution.hpp>
#include <galapagos/search/start.hpp>

using namespace galapagos;
using test::contains;

namespace {

// The least predicted loss of all assignments that meet the budget, or of those of them that are wanted.
double least_of_all(const SearchSpace& space, const Budget& budget,
                    const std::function<bool(const Assignment&)>& wanted = {}) {
  double least = std::numeric_limits<double>::infinity();
  Assignment assignment(space.modules.size(), 0);
  for (;;) {
    if (budget.met_by(assignment) && (!wanted || wanted(assignment)))
      least = std::min(least, space.predicted_loss(assignment));
    std::size_t place = assignment.size();
    while (place > 0 && ++assignment[place - 1] > space.modules[place - 1].last()) assignment[--place] = 0;
    if (place == 0) return least;
  }
}

SearchSpace even_space_with_losses(std::uint32_t seed, std::size_t layers, std::int64_t last) {
  std::mt19937 random(seed);
  return test::with_end_losses(test::even_space(layers, last), random);
}

// A space with a budget, and an assignment of any size.
struct NearCase {
  SearchSpace space;
  Budget budget;
  Assignment centre;
  EndLosses losses;
};

// Nothing where there is hardly anything to choose from.
std::optional<NearCase> near_case(std::uint32_t seed) {
  std::mt19937 random(seed);
  SearchSpace space = test::with_end_losses(test::uneven_space(random, 3), random);
  const std::int64_t least = space.fixed_parameters + space.smallest_parameters();
  const std::int64_t prunable = space.dense_parameters() - space.smallest_parameters();
  if (prunable < 2) return std::nullopt;
  const Budget budget = Budget::of_parameters(space, least + static_cast<std::int64_t>(random()) % prunable);
  Assignment centre;
  EndLosses losses;
  for (const ModuleChoices& module : space.modules) {
    centre.push_back(static_cast<std::int16_t>(random() % module.parameters.size()));
    losses.push_back(module.end_loss);
  }
  return NearCase{std::move(space), budget, std::move(centre), std::move(losses)};
}

}  // namespace

TEST_CASE("the assignment of least loss is that of all that meet the budget", "[start]") {
  int sizes = 0;
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    const SearchSpace even = even_space_with_losses(seed, 3, 4);
    const Budget of_level = Budget::of_level(even, 1 + seed % 3);
    const Assignment level = least_loss(even, of_level);
    CHECK(of_level.met_by(level));
    CHECK(even.predicted_loss(level) == least_of_all(even, of_level));
    CHECK(even.predicted_loss(level) <= even.predicted_loss(of_level.uniform()));

    std::mt19937 random(seed);
    const SearchSpace uneven = test::with_end_losses(test::uneven_space(random, 3), random);
    const std::int64_t least = uneven.fixed_parameters + uneven.smallest_parameters();
    const std::int64_t prunable = uneven.dense_parameters() - uneven.smallest_parameters();
    if (prunable < 2) continue;
    ++sizes;
    const Budget of_size =
        Budget::of_parameters(uneven, least + static_cast<std::int64_t>(random()) % prunable);
    const Assignment size = least_loss(uneven, of_size);
    CHECK(of_size.met_by(size));
    CHECK(uneven.predicted_loss(size) == least_of_all(uneven, of_size));
  }
  CHECK(sizes > 80);
}

TEST_CASE("near an assignment, the best of those is found whose levels are within some steps", "[start]") {
  int narrower = 0, impossible = 0;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const std::optional<NearCase> one = near_case(seed);
    if (!one) continue;
    const auto& [space, budget, centre, losses] = *one;
    for (const std::int64_t steps : {0, 1, 2, 100}) {
      const auto is_near = [&](const Assignment& other) {
        for (std::size_t i = 0; i < centre.size(); ++i)
          if (std::abs(centre[i] - other[i]) > steps) return false;
        return true;
      };
      const double least = least_of_all(space, budget, is_near);
      const EndLosses near = near_only(losses, centre, steps);
      if (std::isinf(least)) {
        ++impossible;
        CHECK_THROWS_AS(least_loss(space, budget, near), UsageError);
        continue;
      }
      const Assignment found = least_loss(space, budget, near);
      CHECK(is_near(found));
      CHECK(budget.met_by(found));
      CHECK(space.predicted_loss(found) == least);
      narrower += least > space.predicted_loss(least_loss(space, budget)) ? 1 : 0;
    }
  }
  CHECK(narrower > 20);
  CHECK(impossible > 20);
}

TEST_CASE("an assignment is made to fit by the fewest steps, and of those at the least loss", "[start]") {
  int changed = 0;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const std::optional<NearCase> one = near_case(seed);
    if (!one) continue;
    const auto& [space, budget, centre, losses] = *one;
    const auto steps_to = [&](const Assignment& other) {
      std::int64_t steps = 0;
      for (std::size_t i = 0; i < centre.size(); ++i) steps += std::abs(centre[i] - other[i]);
      return steps;
    };
    const Assignment found = least_loss(space, budget, steps_first(losses, centre));
    CHECK(budget.met_by(found));
    CHECK(std::isinf(least_of_all(
        space, budget, [&](const Assignment& other) { return steps_to(other) < steps_to(found); })));
    CHECK(space.predicted_loss(found) == least_of_all(space, budget, [&](const Assignment& other) {
            return steps_to(other) == steps_to(found);
          }));
    if (budget.met_by(centre)) CHECK(found == centre);
    changed += found != centre ? 1 : 0;
  }
  CHECK(changed > 20);
}

TEST_CASE("islands begin near the optimum, the first of them at it", "[start]") {
  std::mt19937 random(5);
  SearchSpace space = test::even_space(40, 10);
  for (ModuleChoices& module : space.modules) {  // modules differ by factors
    const double weight = std::exp(2 * static_cast<double>(random()) / 4294967296.0);
    for (int level = 0; level <= 10; ++level) module.end_loss.push_back(weight * std::pow(level, 1.7));
  }
  for (const Budget& budget : {Budget::of_level(space, 5), Budget::of_parameters(space, 8100)}) {
    const double best = space.predicted_loss(least_loss(space, budget));
    std::set<Assignment> all;
    for (std::int64_t island = 0; island < 8; ++island) {
      const Assignment start = start_of_island(space, budget, {StartKind::sensitivity}, 3, island);
      CHECK(start == start_of_island(space, budget, {StartKind::sensitivity}, 3, island));
      CHECK(budget.met_by(start));
      const double loss = space.predicted_loss(start);
      if (island == 0) CHECK(loss == best);
      CHECK(loss >= best);
      CHECK(loss < 1.02 * best);
      all.insert(start);
      CHECK(start_of_island(space, budget, {}, 3, island) == budget.uniform());
    }
    CHECK(all.size() == 8);
    CHECK(1.1 * best < space.predicted_loss(budget.uniform()));
    CHECK(start_of_island(space, budget, {StartKind::sensitivity}, 4, 1) !=
          start_of_island(space, budget, {StartKind::sensitivity}, 3, 1));
    EvolutionOptions options;
    options.islands = 3;
    options.seed = 3;
    options.start = {StartKind::sensitivity};
    const Population population = initial_population(*make_strategy(space, budget, options), options.islands);
    for (std::int64_t island = 0; island < 3; ++island) {
      CHECK(population.islands[static_cast<std::size_t>(island)].elites.front().assignment ==
            start_of_island(space, budget, options.start, 3, island));
    }
    options.strategy = StrategyKind::random;
    options.start = {};
    CHECK(budget.met_by(initial_population(*make_strategy(space, budget, options), options.islands)
                            .islands[0]
                            .elites[0]
                            .assignment));
  }
}

TEST_CASE("perturbed end losses have the spread asked for, the same factor at all levels", "[start]") {
  std::mt19937 random(1);
  const SearchSpace space = test::with_end_losses(test::even_space(2000, 3), random);
  const EndLosses other = perturbed_end_losses(space, 0.3, RandomStream(7, {}));
  double sum = 0, squares = 0, count = 0;
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    const std::vector<double>&before = space.modules[i].end_loss, &after = other[i];
    if (before[3] == 0) continue;
    const double factor = after[3] / before[3];
    for (std::size_t level = 0; level <= 3; ++level) CHECK(after[level] == Approx(factor * before[level]));
    sum += std::log(factor);
    squares += std::log(factor) * std::log(factor);
    ++count;
  }
  CHECK(count > 3000);
  CHECK(std::abs(sum / count) < 0.02);  // 4 standard errors of 0.3 / sqrt(count)
  CHECK(std::sqrt(squares / count) == Approx(0.3).epsilon(0.06));
  CHECK(perturbed_end_losses(space, 0, RandomStream(7, {}))[5] == space.modules[5].end_loss);
}

TEST_CASE("what --start asks for is resolved or refused", "[start]") {
  const test::TemporaryFolder folder;
  const SearchSpace without = test::even_space(3, 4), with = even_space_with_losses(1, 3, 4);
  const Budget level = Budget::of_level(without, 2), size = Budget::of_parameters(without, 340);
  const auto refusal = [](const SearchSpace& space, const Budget& budget, const std::string& name) {
    return test::message_of<UsageError>([&] { make_start(space, budget, name); });
  };
  CHECK(make_start(without, level, "auto").kind == StartKind::uniform);
  CHECK(make_start(with, level, "auto").kind == StartKind::sensitivity);
  CHECK(make_start(with, level, "uniform").kind == StartKind::uniform);
  CHECK(make_start(with, size, "sensitivity").kind == StartKind::sensitivity);
  CHECK(contains(refusal(without, level, "sensitivity"), "no end losses"));
  const auto file = [&](const Assignment& assignment) {
    test::write_text(folder / "a.txt", to_text(without, assignment));
    return (folder / "a.txt").string();
  };
  const Assignment good = {0, 1, 2, 1, 4, 4};  // attention, ffn, attention, ...
  const Start given = make_start(without, level, file(good));
  CHECK(given.kind == StartKind::given);
  CHECK(given.given == good);
  CHECK(start_of_island(without, level, given, 1, 2) == good);
  CHECK(contains(refusal(without, level, file({0, 1, 2, 1, 4, 1})),
                 "3 levels of ffn modules too few, 3 instead of 6"));
  CHECK(contains(refusal(without, level, file({4, 1, 2, 1, 4, 4})),
                 "4 levels of attn modules too many, 10 instead of 6"));
  // Parameters: 100 beside those of the modules, 10 a step of attention and 30 one of ffn.
  CHECK(make_start(without, size, file({4, 0, 4, 0, 4, 4})).kind == StartKind::given);
  CHECK(contains(refusal(without, size, file({3, 0, 4, 0, 4, 3})),
                 "40 prunable parameters too many, 280 instead of at most 240"));
  CHECK(
      !test::message_of<InputError>([&] { make_start(without, level, (folder / "none").string()); }).empty());
}
