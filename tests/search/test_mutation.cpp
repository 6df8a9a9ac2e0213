#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <galapagos/search/mutation.hpp>

using namespace galapagos;
using test::contains;
using test::make_space;
using test::message_of;
using test::Sizes;

namespace {

using Distribution = std::map<Assignment, double>;

std::vector<std::size_t> modules_of(const SearchSpace& space, ModuleKind kind) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    if (space.modules[i].id.kind == kind) found.push_back(i);
  }
  return found;
}

// What one switch of the reference makes of assignments with these probabilities.
Distribution after_switch(const SearchSpace& space, const Distribution& before) {
  Distribution after;
  for (const auto& [assignment, probability] : before) {
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
      const std::vector<std::size_t> modules = modules_of(space, kind);
      const double of_kind =
          probability * static_cast<double>(modules.size()) / static_cast<double>(space.modules.size());
      std::vector<std::size_t> down, up;
      for (const std::size_t i : modules) {
        if (assignment[i] > 0) down.push_back(i);
        if (assignment[i] < space.modules[i].last()) up.push_back(i);
      }
      if (down.empty() || up.empty()) after[assignment] += of_kind;
      for (const std::size_t larger : down) {
        for (const std::size_t smaller : up) {
          Assignment other = assignment;
          --other[larger];
          ++other[smaller];
          after[other] += of_kind / static_cast<double>(down.size() * up.size());
        }
      }
    }
  }
  return after;
}

// Whether draws come from a distribution, by Pearson's statistic; cells that are too rare are taken together.
template <typename Draw>
void check_drawn_from(const Distribution& expected, int draws, Draw&& draw) {
  std::map<Assignment, int> seen;
  for (int i = 0; i < draws; ++i) ++seen[draw()];
  double chi = 0, rare_expected = 0, rare_seen = 0;
  int cells = 0, unexpected = 0;
  for (const auto& [assignment, count] : seen) unexpected += expected.contains(assignment) ? 0 : 1;
  for (const auto& [assignment, probability] : expected) {
    const double mean = probability * draws;
    if (mean < 8) {
      rare_expected += mean;
      rare_seen += seen[assignment];
      continue;
    }
    chi += (seen[assignment] - mean) * (seen[assignment] - mean) / mean;
    ++cells;
  }
  INFO("chi square " << chi << " of " << cells << " cells, rare ones " << rare_seen << " of "
                     << rare_expected);
  CHECK(unexpected == 0);
  CHECK(cells > 1);
  CHECK(chi < cells + 5 * std::sqrt(2.0 * cells));
  CHECK(std::abs(rare_seen - rare_expected) <= 5 * std::sqrt(rare_expected) + 1);
}

std::int64_t sum_of_kind(const SearchSpace& space, const Assignment& assignment, ModuleKind kind) {
  std::int64_t sum = 0;
  for (const std::size_t i : modules_of(space, kind)) sum += assignment[i];
  return sum;
}

bool in_range(const SearchSpace& space, const Assignment& assignment) {
  if (assignment.size() != space.modules.size()) return false;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (assignment[i] < 0 || assignment[i] > space.modules[i].last()) return false;
  }
  return true;
}

// Within the budget, and no module could be made larger within it.
bool fills(const SearchSpace& space, const Assignment& assignment, std::int64_t parameters) {
  std::int64_t size = space.fixed_parameters;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    size += space.modules[i].parameters[static_cast<std::size_t>(assignment[i])];
  }
  if (!in_range(space, assignment) || size > parameters) return false;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (assignment[i] == 0) continue;
    const auto level = static_cast<std::size_t>(assignment[i]);
    const Sizes& sizes = space.modules[i].parameters;
    if (size + sizes[level - 1] - sizes[level] <= parameters) return false;
  }
  return true;
}

// All assignments of a small space that fill a budget.
std::set<Assignment> all_that_fill(const SearchSpace& space, std::int64_t parameters) {
  std::set<Assignment> found;
  Assignment assignment(space.modules.size(), 0);
  for (;;) {
    if (fills(space, assignment, parameters)) found.insert(assignment);
    std::size_t i = 0;
    while (i < assignment.size() && assignment[i] == space.modules[i].last()) assignment[i++] = 0;
    if (i == assignment.size()) return found;
    ++assignment[i];
  }
}

RandomStream random_stream(std::uint32_t individual = 0) {
  return RandomStream(11, {0, 0, individual, 1});
}

}  // namespace

TEST_CASE("mutations have the reference's distribution", "[mutation]") {
  // Two attention modules and three ffn modules, of which some can only go one way.
  const SearchSpace space =
      make_space({test::equal_sizes(2, 10), test::equal_sizes(3, 10)},
                 {test::equal_sizes(2, 30), test::equal_sizes(4, 30), test::equal_sizes(2, 30)});
  const Budget budget = Budget::of_level(space, 1);
  for (const Assignment& parent :
       {Assignment{1, 1, 1, 1, 1}, Assignment{0, 0, 2, 3, 0}, Assignment{2, 2, 0, 1, 0}}) {
    const Distribution one = after_switch(space, {{parent, 1.0}});
    const Distribution two = after_switch(space, one), three = after_switch(space, two);
    Distribution mutated;
    for (const auto& [share, part] : {std::pair(5, &one), {3, &two}, {1, &three}}) {
      for (const auto& [assignment, probability] : *part) mutated[assignment] += share / 9.0 * probability;
    }
    RandomStream random = random_stream();
    check_drawn_from(one, 40000, [&] {
      Assignment child = parent;
      exchange(budget, child, random);
      return child;
    });
    check_drawn_from(mutated, 60000, [&] { return mutate(budget, parent, random); });
  }
}

TEST_CASE("a mutation makes one, two or three exchanges with 5/9, 3/9 and 1/9", "[mutation]") {
  // So many modules that hardly any two exchanges meet.
  const SearchSpace space = make_space({}, std::vector<Sizes>(600, test::equal_sizes(8, 1)));
  const Budget budget = Budget::of_level(space, 4);
  const Assignment parent = budget.uniform();
  RandomStream random = random_stream();
  constexpr int draws = 12000;
  std::vector<int> seen(4, 0);
  for (int i = 0; i < draws; ++i) {
    const Assignment child = mutate(budget, parent, random);
    std::int64_t moved = 0;
    for (std::size_t m = 0; m < child.size(); ++m) moved += std::abs(child[m] - parent[m]);
    ++seen.at(static_cast<std::size_t>(moved / 2));
  }
  CHECK(seen[0] < draws / 100);
  CHECK(std::abs(seen[1] - draws * 5 / 9) < 300);
  CHECK(std::abs(seen[2] - draws * 3 / 9) < 300);
  CHECK(std::abs(seen[3] - draws * 1 / 9) < 200);
}

TEST_CASE("a mutation is a function of its random stream", "[mutation]") {
  const SearchSpace space = test::even_space(6, 5);
  for (const Budget& budget : {Budget::of_level(space, 2), Budget::of_parameters(space, 900)}) {
    const Assignment parent = budget.uniform();
    std::set<Assignment> children;
    for (std::uint32_t individual = 0; individual < 20; ++individual) {
      RandomStream first = random_stream(individual), second = random_stream(individual);
      const Assignment child = mutate(budget, parent, first);
      CHECK(child == mutate(budget, parent, second));
      children.insert(child);
    }
    CHECK(children.size() > 10);
  }
}

TEST_CASE("levels are moved within a kind, and their sums are kept", "[mutation]") {
  std::mt19937 seeds(4);
  for (int round = 0; round < 20; ++round) {
    std::vector<Sizes> attention, ffn;
    const auto any = [&] { return test::equal_sizes(3 + static_cast<std::int64_t>(seeds() % 5), 7); };
    for (std::size_t i = 0; i < 1 + seeds() % 5; ++i) attention.push_back(any());
    for (std::size_t i = 0; i < 2 + seeds() % 5; ++i) ffn.push_back(any());
    const SearchSpace space = make_space(attention, ffn);
    const auto level = static_cast<std::int64_t>(1 + seeds() % 2);
    const Budget budget = Budget::of_level(space, level);
    Assignment assignment = budget.uniform();
    CHECK(assignment == Assignment(space.modules.size(), static_cast<std::int16_t>(level)));
    RandomStream random = random_stream(static_cast<std::uint32_t>(round));
    bool kept = true;
    std::set<Assignment> seen;
    for (int i = 0; i < 500; ++i) {
      assignment = mutate(budget, assignment, random);
      seen.insert(assignment);
      kept = kept && in_range(space, assignment) && budget.met_by(assignment) &&
             sum_of_kind(space, assignment, ModuleKind::attention) ==
                 level * static_cast<std::int64_t>(attention.size()) &&
             sum_of_kind(space, assignment, ModuleKind::ffn) == level * static_cast<std::int64_t>(ffn.size());
    }
    CHECK(kept);
    CHECK(seen.size() > 1);
    Assignment off = assignment;
    off[0] = static_cast<std::int16_t>(off[0] > 0 ? off[0] - 1 : 1);
    CHECK(!budget.met_by(off));
    CHECK(budget.met_by(random_assignment(budget, random)));
  }
}

TEST_CASE("random assignments reach everything", "[mutation]") {
  const SearchSpace space =
      make_space({test::equal_sizes(2, 10), test::equal_sizes(2, 10)},
                 {test::equal_sizes(3, 30), test::equal_sizes(3, 30), test::equal_sizes(3, 30)}, 5);
  std::set<Assignment> of_level;
  const Budget budget = Budget::of_level(space, 1);
  RandomStream random = random_stream();
  for (int i = 0; i < 2000; ++i) of_level.insert(random_assignment(budget, random));
  CHECK(of_level.size() == 3 * 10);  // sums of 2 over two modules, of 3 over three

  // Where levels differ in size, all that fill a budget are connected by exchanges.
  std::mt19937 seeds(6);
  for (int round = 0; round < 12; ++round) {
    const SearchSpace uneven = round == 0 ? space : test::uneven_space(seeds, 3);
    const std::int64_t least = uneven.fixed_parameters + uneven.smallest_parameters(),
                       most = uneven.fixed_parameters + uneven.dense_parameters();
    if (least == most) continue;
    const std::int64_t target = least + (most - least) / 2;
    const Budget by_size = Budget::of_parameters(uneven, target);
    std::set<Assignment> reached = {by_size.uniform()}, next = reached;
    while (!next.empty()) {
      const Assignment from = *next.begin();
      next.erase(next.begin());
      for (int i = 0; i < 4000; ++i) {
        Assignment to = from;
        exchange(by_size, to, random);
        if (reached.insert(to).second) next.insert(to);
      }
    }
    INFO("round " << round);
    CHECK(reached == all_that_fill(uneven, target));
  }
}

TEST_CASE("a budget in parameters is never exceeded and always filled", "[mutation]") {
  std::mt19937 seeds(8);
  for (int round = 0; round < 60; ++round) {
    const SearchSpace space =
        round % 3 == 0 ? test::even_space(1 + seeds() % 9, 1 + static_cast<std::int64_t>(seeds() % 6))
        : round % 10 == 1
            ? test::mixture_space(1 + seeds() % 3, 1 + static_cast<std::int64_t>(seeds() % 4), 3)
            : test::uneven_space(seeds, 1 + seeds() % 9);
    const std::int64_t least = space.fixed_parameters + space.smallest_parameters(),
                       most = space.fixed_parameters + space.dense_parameters();
    if (least == most) continue;
    for (const std::int64_t target :
         {least, least + 1, least + static_cast<std::int64_t>(seeds()) % (most - least), most - 1}) {
      const Budget budget = Budget::of_parameters(space, target);
      CHECK(budget.rules().front().limit == target - space.fixed_parameters);
      INFO("round " << round << ", target " << target << " of " << least << " to " << most);
      Assignment assignment = budget.uniform();
      CHECK(fills(space, assignment, target));
      CHECK(budget.met_by(assignment));
      CHECK(budget.met_by(assignment) == (space.parameters(assignment) <= target));
      RandomStream random = random_stream(static_cast<std::uint32_t>(round));
      bool all_fill = fills(space, random_assignment(budget, random), target);
      for (int i = 0; i < 100; ++i) {
        assignment = mutate(budget, assignment, random);
        all_fill = all_fill && fills(space, assignment, target);
      }
      CHECK(all_fill);
      CHECK(!budget.met_by(Assignment(space.modules.size(), 0)));
    }
  }
}

TEST_CASE("the uniform assignment is even", "[mutation]") {
  const std::vector<Sizes> modules(10, test::equal_sizes(8, 20));
  const SearchSpace space = make_space(modules, modules, 100);
  for (std::int64_t target = 100; target < 100 + 20 * 8 * 20; target += 37) {
    const Assignment uniform = Budget::of_parameters(space, target).uniform();
    const auto [least, most] = std::minmax_element(uniform.begin(), uniform.end());
    CHECK(*most - *least <= 1);
  }
}

TEST_CASE("budgets that cannot be met say what can", "[mutation]") {
  const SearchSpace space =
      make_space({test::equal_sizes(4, 10), test::equal_sizes(2, 10)}, {{500, 400, 1}}, 1000);
  const auto of_level = [&](std::int64_t level) {
    return message_of<UsageError>([&] { Budget::of_level(space, level); });
  };
  CHECK(of_level(1).empty());
  CHECK(contains(of_level(3), "model.layers.0.mlp.down_proj has levels 0 to 2, not 3"));
  CHECK(contains(of_level(-1), "levels 0 to"));
  CHECK(contains(of_level(100000), "levels 0 to"));
  CHECK(contains(of_level(0), "nothing to choose"));
  const SearchSpace all_alike = test::even_space(3, 2);
  CHECK(contains(message_of<UsageError>([&] { Budget::of_level(all_alike, 2); }), "nothing to choose"));
  const SearchSpace lonely = make_space({test::equal_sizes(4, 10)}, {test::equal_sizes(4, 10)});
  CHECK(contains(message_of<UsageError>([&] { Budget::of_level(lonely, 2); }), "nothing to choose"));

  const auto of_parameters = [&](std::int64_t parameters) {
    return message_of<UsageError>([&] { Budget::of_parameters(space, parameters); });
  };
  CHECK(of_parameters(1001).empty());
  CHECK(of_parameters(1559).empty());
  for (const std::int64_t parameters :
       {std::int64_t{1000}, std::int64_t{0}, std::int64_t{-5}, std::int64_t{1560}, std::int64_t{1} << 60}) {
    INFO(of_parameters(parameters));
    CHECK(contains(of_parameters(parameters), "1,001 to 1,560"));
    CHECK(contains(of_parameters(parameters), "--target-params"));
  }
  CHECK(contains(of_parameters(-5), "-5 parameters"));
}
