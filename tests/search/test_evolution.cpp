#include "support/catch.hpp"
#include "synthetic_search.hpp"

#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include <galapagos/comm/shared_counter.hpp>
#include <galapagos/search/mutation.hpp>

using namespace galapagos;
using test::Hooks;
using test::Outcome;
using test::run_search;
using test::SyntheticSearch;
using test::text_of;

namespace {

// A search over all ranks comes to what a search on one rank comes to, at whatever pace the ranks go.
void check_same_as_alone(const SyntheticSearch& search, const Communicator& world) {
  const Outcome alone = run_search(Communicator::self(), search);
  int calls = world.rank();
  Hooks hooks;
  hooks.before_candidate = [&] {
    if ((calls += 5) % 7 == 0) std::this_thread::sleep_for(std::chrono::microseconds(calls % 300));
  };
  const Outcome together = run_search(world, search, hooks);
  CHECK(alone.code == 0);
  CHECK(together.code == 0);
  CHECK(text_of(together.last) == text_of(alone.last));
  if (world.is_root()) CHECK(together.said == alone.said);
  if (!world.is_root()) CHECK(together.said.empty());
}

// One call of an evaluator: the candidates that the ranks of an island measured together.
struct Call {
  Assignment base;
  std::vector<Assignment> candidates;
  TokenDraw draw;
};

// The order in which candidates are evaluated does not matter.
std::set<Assignment> in_order(const std::vector<Assignment>& candidates) {
  return {candidates.begin(), candidates.end()};
}

std::vector<Call> calls_of(const SyntheticSearch& search, Outcome* outcome = nullptr) {
  std::vector<Call> calls;
  Hooks hooks;
  hooks.seen = [&](const Assignment& base, const std::vector<Assignment>& candidates, const TokenDraw& draw) {
    calls.push_back({base, candidates, draw});
  };
  const Outcome found = run_search(Communicator::self(), search, hooks);
  CHECK(found.code == 0);
  if (outcome != nullptr) *outcome = found;
  return calls;
}

}  // namespace

TEST_CASE("a search is the same for any number of ranks", "[evolution]") {
  const Communicator world = Communicator::world();
  for (const std::int64_t islands : {4, 1, 5}) {
    SyntheticSearch search;
    search.options.islands = islands;
    for (const char* topology : {"ring", "complete", "star", "random", "none"}) {
      search.topology(topology, "2", 2);
      check_same_as_alone(search, world);
    }
    search.topology("ring", "1", 1);  // an exchange is waited for in each generation
    check_same_as_alone(search, world);
    search.options.eval_every = 0;
    search.extra_items = 0;
    check_same_as_alone(search, world);
    search.options.strategy = StrategyKind::random;
    check_same_as_alone(search, world);
  }
  SyntheticSearch matrix;
  matrix.topology("matrix", "0 1 0 0; 0 0 3 0; 2 0 0 1; 1 1 1 0", 1);
  check_same_as_alone(matrix, world);
  SyntheticSearch by_size;
  by_size.budget = Budget::of_parameters(by_size.space, 550);
  by_size.options.offspring = 1;
  by_size.options.stages = {{1, 7}};
  check_same_as_alone(by_size, world);
  SyntheticSearch many;
  many.options.offspring = 23;
  many.options.stages = {{20, 2}, {19, 200}, {3, 10}, {1, 50}};
  many.extra_items = 40;
  check_same_as_alone(many, world);
}

TEST_CASE("a search with end losses begins at their optima and is the same for any number of ranks",
          "[evolution]") {
  const Communicator world = Communicator::world();
  SyntheticSearch search;
  std::mt19937 random(2);
  search.space = test::with_end_losses(search.space, random);
  search.options.start = {StartKind::sensitivity};
  for (const std::int64_t islands : {4, 1, 5}) {
    search.options.islands = islands;
    search.topology("ring", "2", 2);
    check_same_as_alone(search, world);
    std::vector<Assignment> parents;  // of the first generation
    for (const IslandState& island : search.start().islands) parents.push_back(island.elites[0].assignment);
    CHECK(parents.front() == least_loss(search.space, search.budget));
    std::vector<Assignment> bases;
    for (const Call& call : calls_of(search)) {
      if (bases.size() < parents.size() * search.options.stages.size()) bases.push_back(call.base);
    }
    for (std::size_t i = 0; i < bases.size(); ++i)
      CHECK(bases[i] == parents[i / search.options.stages.size()]);
  }
  search.options.start = {StartKind::given, least_loss(search.space, search.budget)};
  check_same_as_alone(search, world);
  search.options.strategy = StrategyKind::random;
  check_same_as_alone(search, world);
  search.options.strategy = StrategyKind::sensitivity;
  search.options.generations = 0;
  check_same_as_alone(search, world);
  const Outcome none = run_search(Communicator::self(), search);
  CHECK(none.said.size() == 1);  // the comparison
  CHECK(text_of(none.last) == text_of(search.start()));
}

TEST_CASE("predicted and measured losses are compared over the offspring of each generation", "[evolution]") {
  // Where the fitness is what is predicted, or its opposite, the rank correlation is 1 or -1.
  SyntheticSearch search;
  std::mt19937 random(3);
  search.space = test::with_end_losses(search.space, random);
  for (const double sign : {1.0, -1.0}) {
    Hooks hooks;
    hooks.fitness = [&](const Assignment& assignment, const TokenDraw&) {
      return sign * search.space.predicted_loss(assignment);
    };
    const Outcome found = run_search(Communicator::self(), search, hooks);
    REQUIRE(found.code == 0);
    for (std::size_t i = 0; i < found.last.islands.size(); ++i) {
      const IslandState& island = found.last.islands[i];
      const GenerationReport& report = found.last.reports[i];
      CHECK(island.ranks.correlation() == Approx(sign));
      CHECK(island.ranks.count == search.options.generations * search.options.offspring);
      CHECK(report.ranks.count == search.options.offspring);
      CHECK(report.predicted == Approx(sign * report.mean));
    }
  }
  const Outcome own = run_search(Communicator::self(), search);
  for (const IslandState& island : own.last.islands) CHECK(std::abs(island.ranks.correlation()) < 1);
  CHECK(run_search(Communicator::self(), SyntheticSearch()).last.islands[0].ranks.count == 0);
}

TEST_CASE("every measured candidate is recorded with where it came from", "[evolution]") {
  SyntheticSearch search;
  std::mt19937 random(4);
  search.space = test::with_end_losses(search.space, random);
  search.options.start = {StartKind::sensitivity};
  Outcome outcome;
  const std::vector<Call> calls = calls_of(search, &outcome);
  auto call = calls.begin();
  std::set<Origin> origins;
  for (std::size_t g = 0; g < outcome.populations.size(); ++g) {
    for (std::size_t i = 0; i < outcome.populations[g].islands.size(); ++i) {
      const IslandState& island = outcome.populations[g].islands[i];
      REQUIRE(island.measured.size() == search.options.stages.size());
      for (std::size_t s = 0; s < island.measured.size(); ++s, ++call) {
        const MeasuredStage& stage = island.measured[s];
        CHECK(stage.stage == static_cast<std::int64_t>(s));
        CHECK(stage.tokens == search.options.stages[s].tokens);
        std::vector<Assignment> measured;
        for (const Measurement& one : stage.candidates) {
          measured.push_back(one.assignment);
          origins.insert(one.origin);
          CHECK(one.fitness == test::synthetic_fitness(one.assignment, call->draw));
          CHECK((one.origin == Origin::parent) == (one.assignment == call->base));
        }
        CHECK(in_order(measured) == in_order(call->candidates));
        CHECK(measured.size() == call->candidates.size());
      }
    }
    if ((g + 1) % 3 == 0) ++call;  // the comparison
  }
  CHECK(origins == std::set<Origin>{Origin::mutation, Origin::parent, Origin::immigrant});
  search.options.strategy = StrategyKind::random;
  const Outcome drawn = run_search(Communicator::self(), search);
  CHECK(drawn.last.islands[0].measured[0].candidates[0].origin == Origin::random);
}

TEST_CASE("what the surrogate expects is said before anything of the generation is measured", "[evolution]") {
  SyntheticSearch search;
  std::mt19937 random(5);
  search.space = test::with_end_losses(search.space, random);
  search.options.start = {StartKind::sensitivity};
  const Outcome outcome = run_search(Communicator::self(), search);
  REQUIRE(outcome.code == 0);
  const auto islands = static_cast<std::size_t>(search.options.islands);
  for (std::size_t g = 0; g < outcome.populations.size(); ++g) {
    const Population& population = outcome.populations[g];
    // All islands up to two generations ago, in order, then the island's own last one.
    SurrogateMoments known;
    for (std::size_t before = 0; before + 1 < g; ++before) {
      std::vector<MeasuredStage> all;
      for (std::size_t i = 0; i < islands; ++i) {
        const auto& measured = outcome.populations[before].islands[i].measured;
        all.insert(all.end(), measured.begin(), measured.end());
      }
      learn(search.space, all, known);
    }
    for (std::size_t i = 0; i < islands; ++i) {
      SurrogateMoments own = known;
      if (g > 0) learn(search.space, outcome.populations[g - 1].islands[i].measured, own);
      const Surrogate surrogate = fit(search.space, own);
      std::vector<double> expected, fitness;
      for (const MeasuredStage& stage : population.islands[i].measured) {
        for (const Measurement& one : stage.candidates) {
          CHECK(one.expected == expected_loss(search.space, surrogate, one.assignment));
          if (stage.stage > 0) continue;
          expected.push_back(one.expected);
          fitness.push_back(one.fitness);
        }
      }
      CHECK(population.reports[i].surrogate_ranks == rank_sums(expected, fitness));
    }
  }
  // Ranks of the first generation are those of the plain sum.
  CHECK(outcome.populations[0].reports[0].surrogate_ranks == outcome.populations[0].reports[0].ranks);
}

TEST_CASE("the surrogate's proposals are new, of the budget, and the same for any number of ranks",
          "[evolution]") {
  const Communicator world = Communicator::world();
  for (const bool by_size : {false, true}) {
    SyntheticSearch search;
    std::mt19937 random(6);
    search.space = test::with_end_losses(search.space, random);
    if (by_size) search.budget = Budget::of_parameters(search.space, 550);
    search.options.start = {StartKind::sensitivity};
    search.options.proposals = 3;
    for (const std::int64_t islands : {4, 1, 5}) {
      search.options.islands = islands;
      search.topology("ring", "2", 2);
      check_same_as_alone(search, world);
    }
    search.options.islands = 2;
    search.topology("none", "1", 1);
    const Outcome outcome = run_search(Communicator::self(), search);
    REQUIRE(outcome.code == 0);
    std::vector<std::set<Assignment>> known(2);
    std::vector<Assignment> parents;
    for (const IslandState& island : search.start().islands) parents.push_back(island.elites[0].assignment);
    std::size_t proposals = 0;
    for (const Population& population : outcome.populations) {
      for (std::size_t i = 0; i < 2; ++i) {
        const std::vector<MeasuredStage>& measured = population.islands[i].measured;
        CHECK(measured[0].candidates.size() == static_cast<std::size_t>(search.options.offspring));
        for (const Measurement& one : measured[0].candidates) {
          CHECK(search.budget.met_by(one.assignment));
          if (one.origin != Origin::proposal) continue;
          ++proposals;
          CHECK(!known[i].contains(one.assignment));
          const Assignment& parent = parents[i];
          std::size_t changed = 0;
          for (std::size_t m = 0; m < parent.size(); ++m) changed += one.assignment[m] != parent[m] ? 1 : 0;
          CHECK(changed <= 4);
        }
        parents[i] = population.islands[i].elites.front().assignment;
        for (const MeasuredStage& stage : measured) {
          for (const Measurement& one : stage.candidates) known[i].insert(one.assignment);
        }
      }
    }
    CHECK(proposals > 2 * outcome.populations.size());  // a small space has few that are near and new
    // Mutations that are left are those of a search without proposals, at least in the first generation.
    const auto children = [&](std::int64_t count) {
      search.options.proposals = count;
      std::set<Assignment> all;
      const Outcome found = run_search(Communicator::self(), search);
      for (const Measurement& one : found.populations.at(0).islands[0].measured[0].candidates) {
        if (one.origin == Origin::mutation) all.insert(one.assignment);
      }
      return all;
    };
    const std::set<Assignment> with = children(3), without = children(0);
    CHECK(std::includes(without.begin(), without.end(), with.begin(), with.end()));
  }
  // Where nothing is known yet but the end losses, what is near the parent and better by them is proposed.
  SyntheticSearch search;
  std::mt19937 random(7);
  search.space = test::with_end_losses(search.space, random);
  search.options.proposals = 1;
  search.options.generations = 1;
  const Outcome outcome = run_search(Communicator::self(), search);
  const Measurement& last = outcome.last.islands[0].measured[0].candidates.back();
  CHECK(last.origin == Origin::proposal);
  CHECK(search.space.predicted_loss(last.assignment) < search.space.predicted_loss(search.budget.uniform()));
}

TEST_CASE("a search is taken up again from any of its generations", "[evolution]") {
  SyntheticSearch search;
  std::mt19937 random(8);
  search.space = test::with_end_losses(search.space, random);
  search.options.start = {StartKind::sensitivity};
  search.options.proposals = 2;
  const Outcome whole = run_search(Communicator::self(), search);
  const Communicator world = Communicator::world();
  for (std::size_t g = 0; g + 1 < whole.populations.size(); ++g) {
    const Outcome rest = run_search(world, search, whole.populations[g]);
    CHECK(rest.code == 0);
    CHECK(text_of(rest.last) == text_of(whole.last));
    if (world.is_root()) CHECK(text_of(rest.populations[0]) == text_of(whole.populations[g + 1]));
  }
}

TEST_CASE("no rank waits while a candidate of its island is not taken", "[evolution]") {
  const Communicator world = Communicator::world();
  for (const bool training : {true, false}) {
    SyntheticSearch search;
    search.options.islands = 1;
    search.options.generations = 1;
    search.options.offspring = 11;
    search.options.stages = {{1, 40, training ? 30 : 0}};
    search.topology("none", "1", 1);
    // The candidate that is begun first, of twelve with the parent, is not done before all that its rank has
    // not taken with it are: each by itself where they are trained, else the largest chunk.
    const int taken = training ? 1 : (12 + 2 * world.size() - 1) / (2 * world.size());
    SharedCounter begun(world, world), done(world, world);
    Hooks hooks;
    hooks.training = training;
    hooks.fitness = [&](const Assignment& assignment, const TokenDraw& draw) {
      const bool first = begun.take() == 0 && world.size() > 1;
      while (first && done.take(0) < 12 - taken) std::this_thread::sleep_for(std::chrono::microseconds(100));
      done.take();
      return test::synthetic_fitness(assignment, draw);
    };
    CHECK(run_search(world, search, hooks).code == 0);
    world.barrier();
    CHECK(done.take(0) == 12 + 1);  // and the comparison at the end
  }
}

TEST_CASE("other seeds and options give other searches", "[evolution]") {
  std::set<std::string> all;
  const auto add = [&](auto change) {
    SyntheticSearch search;
    change(search);
    all.insert(text_of(run_search(Communicator::self(), search).last));
  };
  add([](SyntheticSearch&) {});
  add([](SyntheticSearch&) {});
  CHECK(all.size() == 1);
  add([](SyntheticSearch& s) { s.options.seed = 18; });
  add([](SyntheticSearch& s) { s.options.offspring = 7; });
  add([](SyntheticSearch& s) { s.options.stages[0].tokens = 21; });
  add([](SyntheticSearch& s) { s.options.strategy = StrategyKind::random; });
  add([](SyntheticSearch& s) { s.topology("none", "1", 1); });
  CHECK(all.size() == 6);
}

TEST_CASE("a search resumed after any generation ends as if it had not stopped", "[evolution]") {
  const Communicator world = Communicator::world();
  for (const std::int64_t interval : {1, 2}) {
    SyntheticSearch search;
    search.topology("ring", "2", interval);
    const Outcome whole = run_search(Communicator::self(), search);
    CHECK(whole.populations.size() == 6);
    for (std::int64_t generation = 0; generation <= 6; ++generation) {
      Population start =
          generation == 0 ? search.start() : whole.populations.at(static_cast<std::size_t>(generation - 1));
      start.reports.clear();  // a checkpoint has none
      const Outcome resumed = run_search(world, search, start);
      INFO("from generation " << generation);
      CHECK(resumed.code == 0);
      if (generation < 6) CHECK(text_of(resumed.last) == text_of(whole.last));
      if (!world.is_root()) continue;
      // All that is said after that generation is said again, its own comparison too.
      std::size_t first = 0;
      if (generation > 0) {
        const std::string begin = "generation " + std::to_string(generation) + ":";
        while (!whole.said.at(first).starts_with(begin)) ++first;
        ++first;
      }
      CHECK(resumed.said ==
            std::vector(whole.said.begin() + static_cast<std::ptrdiff_t>(first), whole.said.end()));
    }
    // Fewer generations than there were: only the comparison is left.
    SyntheticSearch shorter = search;
    shorter.options.generations = 4;
    const Outcome over = run_search(world, shorter, whole.populations.at(4));
    CHECK(over.last.generation == 5);
    if (world.is_root()) {
      REQUIRE(over.said.size() == 1);
      CHECK(over.said[0].starts_with("comparison 5"));
    }
  }
}

TEST_CASE("selection keeps the best of each stage, and the parent joins the last", "[evolution]") {
  for (const StrategyKind strategy : {StrategyKind::evolution, StrategyKind::random}) {
    SyntheticSearch search;
    search.options.islands = 1;
    search.topology("ring", "1", 2);
    search.options.offspring = 12;
    search.options.strategy = strategy;
    search.options.stages = {{7, 20}, {3, 30}, {1, 40}};
    search.options.generations = 8;
    search.options.eval_every = 0;
    Outcome outcome;
    const std::vector<Call> calls = calls_of(search, &outcome);
    REQUIRE(calls.size() == 8 * 3 + 1);
    Assignment parent = search.start().islands[0].elites.front().assignment;
    CHECK((parent == search.budget.uniform()) == (strategy == StrategyKind::evolution));
    std::int64_t evaluations = 0, tokens = 0;
    std::set<std::vector<std::int32_t>> draws;
    for (std::size_t generation = 0; generation < 8; ++generation) {
      std::vector<Assignment> expected;
      double mean = 0;
      for (std::size_t stage = 0; stage < 3; ++stage) {
        const Call& call = calls[generation * 3 + stage];
        CHECK(call.base == parent);
        CHECK(call.draw.tokens.size() == std::vector<std::size_t>{20, 30, 40}[stage]);
        CHECK(draws.insert(call.draw.tokens).second);  // drawn anew
        if (stage == 0) {
          CHECK(call.candidates.size() == 12);
          std::set<Assignment> distinct(call.candidates.begin(), call.candidates.end());
          CHECK(distinct.size() == 12);
          CHECK(!distinct.contains(parent));
          bool met = true;
          for (const Assignment& child : call.candidates) {
            met = met && search.budget.met_by(child);
            mean += test::synthetic_fitness(child, call.draw) / 12;
          }
          CHECK(met);
        } else {
          if (stage == 2) expected.insert(expected.begin(), parent);
          CHECK(in_order(call.candidates) == in_order(expected));
        }
        evaluations += static_cast<std::int64_t>(call.candidates.size());
        tokens += static_cast<std::int64_t>(call.candidates.size() * call.draw.tokens.size());
        std::vector<std::pair<double, Assignment>> order;
        for (const Assignment& candidate : call.candidates)
          order.emplace_back(test::synthetic_fitness(candidate, call.draw), candidate);
        std::stable_sort(order.begin(), order.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
        expected.clear();
        for (std::size_t i = 0; i < std::vector<std::size_t>{7, 3, 1}[stage]; ++i)
          expected.push_back(order[i].second);
      }
      const Population& population = outcome.populations.at(generation);
      CHECK(population.islands[0].evaluations == evaluations);
      CHECK(population.islands[0].tokens == tokens);
      CHECK(population.islands[0].elites.front().assignment == expected.front());
      CHECK(population.reports[0].mean == Approx(mean));
      CHECK(population.reports[0].improved == (expected.front() != parent));
      CHECK(population.reports[0].immigrants == 0);
      parent = expected.front();
    }
    CHECK(evaluations == 8 * (12 + 7 + 4));  // whatever the strategy
    CHECK(calls.back().candidates == std::vector<Assignment>{parent});
    CHECK(calls.back().draw.tokens.size() == 60);
  }
}

TEST_CASE("where all are alike, the parent stays", "[evolution]") {
  SyntheticSearch search;
  Hooks hooks;
  hooks.fitness = [](const Assignment&, const TokenDraw&) { return 1.0; };
  const Outcome outcome = run_search(Communicator::world(), search, hooks);
  CHECK(outcome.code == 0);
  for (const IslandState& island : outcome.last.islands)
    CHECK(island.elites.front().assignment == search.budget.uniform());
  for (const GenerationReport& report : outcome.last.reports) CHECK(!report.improved);
}

TEST_CASE("islands go their own ways, on tokens of their own", "[evolution]") {
  SyntheticSearch search;
  search.topology("none", "1", 1);
  search.options.generations = 1;
  const std::vector<Call> calls = calls_of(search);
  REQUIRE(calls.size() == 4 * 3 + 1);
  for (std::size_t a = 0; a < 4; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      CHECK(calls[3 * a].candidates != calls[3 * b].candidates);
      CHECK(calls[3 * a].draw.tokens != calls[3 * b].draw.tokens);
    }
  }
  // The common comparison is of all parents, on the same tokens each time.
  CHECK(calls.back().candidates.size() == 4);
  search.options.generations = 2;
  search.options.eval_every = 1;
  const std::vector<Call> more = calls_of(search);
  CHECK(more.at(12).draw.tokens == more.at(25).draw.tokens);
  CHECK(more.at(12).draw.tokens == calls.back().draw.tokens);
}

TEST_CASE("small spaces have as many offspring as they can, and the search ends", "[evolution]") {
  const Communicator world = Communicator::world();
  for (int kind = 0; kind < 3; ++kind) {
    SyntheticSearch search;
    search.options.generations = 2;
    if (kind == 0) {
      // Two modules at level 1 of 0..2 and another kind that cannot move: two other assignments there are.
      search.space =
          test::make_space({test::equal_sizes(2, 10)}, {test::equal_sizes(2, 30), test::equal_sizes(2, 30)});
      search.budget = Budget::of_level(search.space, 1);
    } else if (kind == 1) {
      search.space = test::make_space({test::equal_sizes(1, 10)}, {test::equal_sizes(1, 10)});
      search.budget = Budget::of_parameters(search.space, 10);
    } else {  // only one assignment meets the budget
      search.space = test::even_space(3, 2);
      search.budget = Budget::of_parameters(search.space, 100);
    }
    const std::size_t others = std::vector<std::size_t>{2, 1, 0}[static_cast<std::size_t>(kind)];
    for (const Call& call : calls_of(search))
      CHECK(call.candidates.size() <= std::max<std::size_t>(others + 1, 4));
    const std::vector<Call> calls = calls_of(search);
    // Without any offspring the first call is that of the last stage, of the parent alone.
    CHECK(calls.at(0).candidates.size() == std::max<std::size_t>(others, 1));
    check_same_as_alone(search, world);
    search.options.strategy = StrategyKind::random;
    CHECK(calls_of(search).at(0).candidates.size() == std::max<std::size_t>(others, 1));
    check_same_as_alone(search, world);
  }
}

TEST_CASE("migrants arrive along the topology when they should, and only then", "[evolution]") {
  const Communicator world = Communicator::world();
  // One assignment is far better than all others, and only island 2 begins with it. In this large space no
  // other island comes upon it.
  SyntheticSearch search;
  search.space = test::even_space(40, 8);
  search.budget = Budget::of_level(search.space, 4);
  search.options.generations = 12;
  search.options.stages = {{2, 20}, {1, 40}};
  RandomStream random(99, {});
  const Assignment spike = random_assignment(search.budget, random);
  Hooks hooks;
  hooks.fitness = [&](const Assignment& assignment, const TokenDraw& draw) {
    return assignment == spike ? -1e6 : test::synthetic_fitness(assignment, draw);
  };
  Population start = search.start();
  start.islands[2].elites = {{spike, 0.0}};
  struct Case {
    const char* topology;
    const char* migrants;
    std::int64_t interval;
    std::vector<std::int64_t> arrival;  // the generation after which each island has it; 0: never
  };
  // What starts after generation g is there at the end of generation g + 1.
  for (const Case& one : {Case{"ring", "1", 3, {7, 10, 1, 4}}, Case{"ring", "2", 1, {3, 4, 1, 2}},
                          Case{"ring", "1", 12, {0, 0, 1, 0}}, Case{"none", "1", 1, {0, 0, 1, 0}},
                          Case{"complete", "1", 5, {6, 6, 1, 6}}, Case{"star", "1", 4, {5, 9, 1, 9}},
                          Case{"matrix", "0 0 0 0; 0 0 0 0; 0 1 0 0; 0 0 0 0", 2, {0, 3, 1, 0}}}) {
    search.topology(one.topology, one.migrants, one.interval);
    const Outcome outcome = run_search(world, search, start, hooks);
    CHECK(outcome.code == 0);
    for (const Population& population : outcome.populations) {
      INFO(one.topology << " every " << one.interval << ", generation " << population.generation);
      for (std::size_t i = 0; i < 4; ++i) {
        const bool there = population.islands[i].elites.front().assignment == spike;
        const std::int64_t since = one.arrival[i];
        CHECK(there == (since > 0 && population.generation >= since));
        if (population.generation == since && i != 2) {
          CHECK(population.reports[i].immigrants >= 1);
          CHECK(population.reports[i].improved);
        }
        const bool after_a_migration =
            population.generation > 1 && (population.generation - 1) % one.interval == 0;
        if (!after_a_migration) CHECK(population.reports[i].immigrants == 0);
      }
    }
    if (world.is_root()) CHECK(outcome.populations.size() == 12);
  }
}

TEST_CASE("as many migrants go as the topology says, and those known already do not count", "[evolution]") {
  SyntheticSearch search;
  search.options.islands = 2;
  search.options.generations = 2;
  search.options.offspring = 10;
  search.options.stages = {{5, 20}, {1, 40}};
  for (const char* migrants : {"0", "1", "3", "6", "100"}) {
    search.topology("ring", migrants, 1);
    Outcome outcome;
    const std::vector<Call> calls = calls_of(search, &outcome);
    const auto wanted = static_cast<std::size_t>(std::stoi(migrants));
    for (std::size_t island = 0; island < 2; ++island) {
      // Six come into the last stage: five survivors and the parent.
      const auto& elites = outcome.populations[0].islands[1 - island].elites;
      CHECK(elites.size() == std::min<std::size_t>(std::max<std::size_t>(wanted, 1), 6));
      const std::vector<Assignment>& last = calls.at(4 + 2 * island + 1).candidates;
      const auto arrived = static_cast<std::size_t>(outcome.populations[1].reports[island].immigrants);
      CHECK(last.size() == 6 + arrived);
      CHECK(arrived <= wanted);
      for (std::size_t i = 0; i < std::min(wanted, elites.size()); ++i)
        CHECK(std::count(last.begin(), last.end(), elites[i].assignment) == 1);
    }
  }
}

TEST_CASE("what is not a number loses", "[evolution]") {
  const Communicator world = Communicator::world();
  SyntheticSearch search;
  search.options.eval_every = 1;
  Hooks hooks;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(),
                   infinity = std::numeric_limits<double>::infinity();
  hooks.fitness = [&](const Assignment& assignment, const TokenDraw& draw) {
    if (assignment[0] == 1) return nan;
    return assignment[0] == 3 ? infinity : test::synthetic_fitness(assignment, draw);
  };
  const Outcome outcome = run_search(world, search, hooks);
  CHECK(outcome.code == 0);
  for (const IslandState& island : outcome.last.islands) {
    CHECK(std::isfinite(island.elites.front().fitness));
    CHECK(island.elites.front().assignment[0] % 2 == 0);
  }
  CHECK(Comparison{{nan, 2, 1, nan}, {}}.best() == 2);
  CHECK(Comparison{{nan, nan, 5}, {}}.best() == 2);
  CHECK(Comparison{{3, nan, 3}, {}}.best() == 0);
  CHECK(Comparison{{infinity, nan, 5}, {}}.best() == 2);
  CHECK(Comparison{{nan, infinity}, {}}.best() == 1);
}
