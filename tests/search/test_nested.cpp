#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <functional>
#include <random>

#include <galapagos/search/front.hpp>
#include <galapagos/search/mutation.hpp>

using namespace galapagos;

namespace {

bool holds(const Assignment& larger, const Assignment& smaller) {
  for (std::size_t i = 0; i < larger.size(); ++i)
    if (larger[i] > smaller[i]) return false;
  return true;
}

std::int64_t steps(const Assignment& one, const Assignment& other) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < one.size(); ++i) sum += std::abs(one[i] - other[i]);
  return sum;
}

/// All assignments of a space, one after the other.
void for_all(const SearchSpace& space, const std::function<void(const Assignment&)>& visit) {
  Assignment assignment(space.modules.size(), 0);
  while (true) {
    visit(assignment);
    std::size_t i = 0;
    while (i < assignment.size() && assignment[i] == space.modules[i].last()) assignment[i++] = 0;
    if (i == assignment.size()) return;
    ++assignment[i];
  }
}

}  // namespace

TEST_CASE("every model of a nested front holds the smaller ones, as near its own as can be", "[front]") {
  std::mt19937 random(5);
  for (std::uint32_t round = 0; round < 30; ++round) {
    const SearchSpace space = test::even_space(2, 4);
    std::vector<Budget> budgets;
    std::vector<FrontPoint> points;
    RandomStream stream(3, {0, round, 0, 1});
    for (const std::int64_t tenths : {8, 6, 4}) {
      budgets.push_back(
          Budget::of_parameters(space, space.fixed_parameters + space.dense_parameters() * tenths / 10));
      Assignment own = budgets.back().uniform();
      for (int i = 0; i < 6; ++i) own = mutate(budgets.back(), own, stream);
      points.push_back({0, own, 0});
    }
    EndLosses losses;
    for (const ModuleChoices& module : space.modules) {
      losses.push_back({0});
      while (losses.back().size() < module.parameters.size())
        losses.back().push_back(losses.back().back() + random() % 100);
    }
    for (const std::vector<EndLosses>& known :
         {std::vector<EndLosses>{}, std::vector<EndLosses>{losses, {}, losses}}) {
      const std::vector<Assignment> chain = nested(space, budgets, points, known);
      REQUIRE(chain.size() == 3);
      CHECK(chain[2] == points[2].assignment);
      for (std::size_t k = 0; k < 2; ++k) {
        CHECK(budgets[k].met_by(chain[k]));
        CHECK(holds(chain[k], chain[k + 1]));
        std::int64_t least = INT64_MAX;
        for_all(space, [&](const Assignment& one) {
          if (budgets[k].met_by(one) && holds(one, chain[k + 1]))
            least = std::min(least, steps(one, points[k].assignment));
        });
        CHECK(steps(chain[k], points[k].assignment) == least);
      }
    }
  }
}
