#include "assignment/small_space.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/mutation.hpp>
#include <galapagos/search/racing.hpp>

using namespace galapagos;

namespace {

double unit_noise(const Assignment& assignment, std::int32_t token) {
  Hash64 hash;
  hash.add(std::as_bytes(std::span(assignment)));
  hash.add(static_cast<std::uint64_t>(token));
  return static_cast<double>(hash.value() >> 11) * 0x1p-53 - 0.5;
}

// A race without a model: the loss of a token is a smooth function of the levels, with noise of its own for
// every assignment and token.
struct SyntheticRaces {
  SearchSpace space = test::even_space(5, 4);
  std::vector<Budget> budgets = {Budget::of_parameters(space, 550)};
  EvolutionOptions options;
  TokenSet pool;
  TokenBlocks blocks;
  double noise = 0.5;
  std::vector<EndLosses> near;

  SyntheticRaces() {
    options.strategy = StrategyKind::racing;
    options.islands = 3;
    options.generations = 9;
    options.offspring = 5;
    options.seed = 21;
    options.topology = make_topology("ring", "1", 2, options.islands, options.seed);
    for (std::int32_t token = 0; token < 400; ++token) {
      pool.tokens.push_back(token);
      if (token % 9 == 8 || token % 31 == 30) pool.offsets.push_back(pool.tokens.size());
    }
    pool.offsets.push_back(pool.tokens.size());
    blocks = cut_blocks(pool, 40, 0.1, RandomStream(options.seed, {}));
  }

  double loss(const Assignment& assignment) const {
    double value = 0;
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      const auto place = static_cast<double>(i);
      value += (1.5 + std::sin(1.7 * place)) * assignment[i] * assignment[i] / 10;
    }
    return value;
  }
  std::vector<Assignment> starts() const {
    std::vector<Assignment> found;
    for (std::int64_t i = 0; i < options.islands; ++i)
      found.push_back(budgets[static_cast<std::size_t>(i) % budgets.size()].uniform());
    return found;
  }
};

struct Hooks {
  std::function<void(const Assignment& candidate, std::int64_t block)> before;
  std::function<std::optional<std::string>()> interrupted = [] { return std::nullopt; };
  std::vector<MeasuredTrial> saved;
  bool broken = false;               // no loss is finite
  std::vector<MeasuredTrial> known;  // by another race
};

// What a race came to: how its islands stand at the end, on every rank; what rank 0 was told.
struct Outcome {
  int code = 0;
  bool own = false;
  std::string text;
  std::vector<MeasuredTrial> trials;
  std::map<std::pair<std::int64_t, std::int64_t>, Standing> standings;
};

Outcome run(const Communicator& comm, const SyntheticRaces& races, const Hooks& hooks = {}) {
  Outcome outcome;
  Racing racing{races.budgets, races.blocks.raced, {}, {}, {}, hooks.interrupted, hooks.saved, races.near};
  racing.others = 2;
  racing.known = knowledge_of(races.space, races.budgets, races.options, races.blocks.raced, hooks.known);
  racing.losses = [&](const Assignment&, std::span<const Assignment> candidates, const TokenDraw& draw,
                      const std::function<bool()>& stop) -> std::optional<TokenLosses> {
    std::int64_t block = 0;
    while (races.blocks.raced[static_cast<std::size_t>(block)].tokens != draw.tokens) ++block;
    TokenLosses losses;
    for (const Assignment& candidate : candidates) {
      if (stop()) return std::nullopt;
      if (hooks.before) hooks.before(candidate, block);
      std::vector<double>& of_tokens = losses.emplace_back();
      for (const std::int32_t token : draw.tokens) {
        of_tokens.push_back(hooks.broken
                                ? std::numeric_limits<double>::quiet_NaN()
                                : races.loss(candidate) + races.noise * unit_noise(candidate, token));
      }
    }
    return losses;
  };
  racing.measured = [&](const std::string& lines) {
    for (MeasuredTrial& trial : trials_of(lines, races.space, races.options, races.blocks.raced, "lines"))
      outcome.trials.push_back(std::move(trial));
  };
  racing.standing = [&](const Standing& standing) {
    CHECK(outcome.standings.emplace(std::pair(standing.island, standing.generation), standing).second);
  };
  try {
    for (const Standing& last : race(comm, races.space, races.options, racing, races.starts())) {
      outcome.text += to_line(last) + "\n";
      CHECK(last.others.size() <= 2);
      for (const Assignment& other : last.others) {
        outcome.text += Json(other).dump() + "\n";
        CHECK(other != last.incumbent);
      }
    }
  } catch (const Error& error) {
    CHECK(error.agreed());
    outcome.code = static_cast<int>(error.code());
    outcome.own = dynamic_cast<const FailedElsewhere*>(&error) == nullptr;
  }
  return outcome;
}

// All that was measured, in an order of its own.
std::string text_of(const std::vector<MeasuredTrial>& trials) {
  std::set<std::string> lines;
  for (const MeasuredTrial& trial : trials) lines.insert(to_line(trial));
  CHECK(lines.size() == trials.size());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// Ranks that go at very different paces.
Hooks uneven_paces(const Communicator& world) {
  Hooks hooks;
  auto calls = std::make_shared<int>(world.rank());
  const int slow = world.rank() % 3 == 1 ? 400 : 30;
  hooks.before = [calls, slow](const Assignment&, std::int64_t) {
    if ((*calls += 5) % 7 < 3) std::this_thread::sleep_for(std::chrono::microseconds((*calls * 37) % slow));
  };
  return hooks;
}

void check_same_as_alone(const SyntheticRaces& races, const Communicator& world,
                         const std::vector<MeasuredTrial>& known = {}) {
  Hooks hooks;
  hooks.known = known;
  const Outcome alone = run(Communicator::self(), races, hooks);
  hooks = uneven_paces(world);
  hooks.known = known;
  const Outcome together = run(world, races, hooks);
  CHECK(alone.code == 0);
  CHECK(together.code == 0);
  CHECK(together.text == alone.text);
  if (world.is_root()) {
    CHECK(text_of(together.trials) == text_of(alone.trials));
    CHECK(together.standings.size() ==
          static_cast<std::size_t>(races.options.islands * races.options.generations));
    for (const auto& [of, standing] : alone.standings)
      CHECK(to_line(together.standings.at(of)) == to_line(standing));
  } else {
    CHECK(together.trials.empty());
    CHECK(together.standings.empty());
  }
}

SyntheticRaces with_end_losses() {
  SyntheticRaces races;
  std::mt19937 random(3);
  races.space = test::with_end_losses(races.space, random);
  return races;
}

}  // namespace

TEST_CASE("a race is the same for any number of ranks, at whatever pace they go", "[racing]") {
  const Communicator world = Communicator::world();
  for (const std::int64_t islands : {3, 1, 7}) {
    SyntheticRaces races = islands == 3 ? with_end_losses() : SyntheticRaces();
    races.options.islands = islands;
    for (const char* topology : {"ring", "complete", "none"}) {
      races.options.topology = make_topology(topology, "1", 2, islands, 1);
      races.options.racing.lag = topology[0] == 'r' ? 1 : topology[0] == 'c' ? 0 : 3;
      check_same_as_alone(races, world);
    }
  }
  SyntheticRaces exact;
  exact.budgets = {Budget::of_level(exact.space, 2)};
  check_same_as_alone(exact, world);
  SyntheticRaces near;  // exchanges go by what is told of the levels, not by the surrogate
  near.near = {EndLosses(near.space.modules.size(), {0, 0.1, 0.5, 1, 3})};
  near.near.front()[3] = {0, 1, 2, 4, 8};
  check_same_as_alone(near, world);
  const Outcome told = run(Communicator::self(), near);
  int exchanges = 0;
  for (const MeasuredTrial& one : told.trials) {
    exchanges += one.trial.origin == Origin::exchange ? 1 : 0;
    if (one.trial.origin == Origin::mutation && one.generation == 1) CHECK(one.trial.expected != 0);
  }
  CHECK(exchanges > 0);
  SyntheticRaces sizes;  // islands of several budgets
  sizes.budgets = {Budget::of_parameters(sizes.space, 500), Budget::of_parameters(sizes.space, 700)};
  sizes.options.islands = 4;
  sizes.options.topology = make_topology("ring", "1", 1, 4, 1);
  check_same_as_alone(sizes, world);
}

TEST_CASE("races find better assignments, pair on common blocks and measure nothing twice", "[racing]") {
  SyntheticRaces races = with_end_losses();
  races.options.generations = 40;
  races.noise = 3;  // of a block's mean 0.14: more than most exchanges change
  const Outcome outcome = run(Communicator::self(), races);
  REQUIRE(outcome.code == 0);
  std::set<std::tuple<std::int64_t, Assignment, std::int64_t>> measured;
  std::map<Origin, int> origins;
  std::map<std::pair<std::int64_t, std::int64_t>, int> counts;
  for (const MeasuredTrial& one : outcome.trials) {
    CHECK(measured.emplace(one.island, one.trial.assignment, one.block).second);
    CHECK(races.budgets[0].met_by(one.trial.assignment));
    ++origins[one.trial.origin];
    ++counts[{one.island, one.generation}];
  }
  for (const Origin origin : {Origin::parent, Origin::mutation, Origin::stride, Origin::layer,
                              Origin::removal, Origin::crossover, Origin::exchange, Origin::immigrant})
    CHECK(origins[origin] > 0);
  // All islands are populated, however fast they are.
  for (std::int64_t island = 0; island < races.options.islands; ++island) {
    for (std::int64_t generation = 1; generation <= races.options.generations; ++generation) {
      CHECK(counts[{island, generation}] >= 1);
      CHECK(counts[{island, generation}] <= races.options.offspring + 1);
    }
  }
  const double start = races.loss(races.budgets[0].uniform());
  EndLosses losses;
  for (std::size_t i = 0; i < races.space.modules.size(); ++i) {
    losses.emplace_back();
    for (std::int16_t level = 0; level <= races.space.modules[i].last(); ++level) {
      Assignment only(races.space.modules.size(), 0);
      only[i] = level;
      losses.back().push_back(races.loss(only));
    }
  }
  const double best = races.loss(least_loss(races.space, races.budgets[0], losses));
  for (std::int64_t island = 0; island < races.options.islands; ++island) {
    const Standing& last = outcome.standings.at({island, races.options.generations});
    INFO("start " << start << ", optimum " << best << ", island " << island << " "
                  << races.loss(last.incumbent));
    CHECK(races.loss(last.incumbent) < start - 0.7 * (start - best));
    CHECK(last.evaluations >= 40);
    double shares = 0;
    for (const auto& [way, share] : last.shares) {
      CHECK(share > 0);
      shares += share;
    }
    CHECK(shares == Approx(1));
  }
}

TEST_CASE("ancestry is what the topology allows", "[racing]") {
  SyntheticRaces races;
  races.options.generations = 16;
  races.options.islands = 4;
  races.options.topology = make_topology("none", "1", 1, 4, 1);
  for (const MeasuredTrial& one : run(Communicator::self(), races).trials)
    CHECK(one.trial.origin != Origin::immigrant);
  races.options.topology = make_topology("ring", "1", 1, 4, 1);
  const Outcome outcome = run(Communicator::self(), races);
  int arrived = 0;
  for (const MeasuredTrial& one : outcome.trials) {
    if (one.trial.origin != Origin::immigrant) continue;
    ++arrived;
    bool known = false;  // it was the parent of the island before in the ring, long enough ago
    const std::int64_t from = (one.island + 3) % 4;
    for (std::int64_t g = 1; g <= one.generation - races.options.racing.lag - 3; ++g)
      known = known || outcome.standings.at({from, g}).incumbent == one.trial.assignment;
    CHECK(known);
  }
  CHECK(arrived > 0);
}

TEST_CASE("a race goes on from any part of what was measured", "[racing]") {
  const Communicator world = Communicator::world();
  const SyntheticRaces races = with_end_losses();
  const Outcome whole = run(Communicator::self(), races);
  std::mt19937 random(5);
  for (const double share : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    Hooks hooks = uneven_paces(world);
    std::set<std::pair<Assignment, std::int64_t>> saved, again;
    for (const MeasuredTrial& trial : whole.trials) {
      if (static_cast<double>(random() % 1000) >= 1000 * share) continue;
      hooks.saved.push_back(trial);
    }
    std::size_t measured = 0;
    const auto pace = hooks.before;
    hooks.before = [&](const Assignment& candidate, std::int64_t block) {
      pace(candidate, block);
      ++measured;
    };
    const Outcome outcome = run(world, races, hooks);
    CHECK(outcome.text == whole.text);
    CHECK(world.sum(static_cast<std::int64_t>(measured)) ==
          std::ssize(whole.trials) - std::ssize(hooks.saved));
    std::vector<MeasuredTrial> all = hooks.saved;
    all.insert(all.end(), outcome.trials.begin(), outcome.trials.end());
    if (world.is_root()) CHECK(text_of(all) == text_of(whole.trials));
  }
  // What is of another course is refused.
  {
    Hooks other;
    other.saved = whole.trials;
    for (MeasuredTrial& trial : other.saved) {
      if (trial.generation == 2 && trial.island == 1)
        std::swap(trial.trial.assignment[0], trial.trial.assignment[2]);
    }
    CHECK(run(world, races, other).code == static_cast<int>(ExitCode::bad_input));
  }
  // And for more generations than before.
  SyntheticRaces longer = races;
  longer.options.generations += 4;
  Hooks hooks;
  hooks.saved = whole.trials;
  CHECK(run(world, longer, hooks).text == run(Communicator::self(), longer).text);
}

TEST_CASE("a race that is interrupted or fails on one rank ends on all, and keeps what it has", "[racing]") {
  const Communicator world = Communicator::world();
  const SyntheticRaces races = with_end_losses();
  const Outcome whole = run(Communicator::self(), races);
  for (int loser = 0; loser < world.size(); ++loser) {
    for (const int at : {0, 1, 4, 15}) {
      for (const bool fails : {false, true}) {
        int calls = 0;
        Hooks hooks = uneven_paces(world);
        const auto pace = hooks.before;
        bool reached = false;
        hooks.before = [&](const Assignment& candidate, std::int64_t block) {
          pace(candidate, block);
          if (calls++ != at || world.rank() != loser) return;
          reached = true;
          if (fails) throw ResourceError("no room", "there", "make some");
        };
        if (!fails) {
          hooks.interrupted = [&]() -> std::optional<std::string> {
            return reached ? std::optional<std::string>("a signal") : std::nullopt;
          };
        }
        const Outcome outcome = run(world, races, hooks);
        const bool any = world.any(reached);
        // Who comes to its end after a signal has nothing left to stop.
        if (!any || (!fails && outcome.code == 0)) {
          CHECK(outcome.text == whole.text);
        } else {
          CHECK(outcome.code == static_cast<int>(fails ? ExitCode::no_resources : ExitCode::stopped_early));
          CHECK(world.sum(std::int64_t{outcome.own ? 1 : 0}) == 1);
        }
        Hooks on;
        on.saved = outcome.trials;
        const auto count = world.broadcast_value(static_cast<std::uint64_t>(on.saved.size()));
        std::string lines;
        for (const MeasuredTrial& trial : on.saved) lines += to_line(trial) + "\n";
        lines = world.broadcast_string(lines);
        on.saved = trials_of(lines, races.space, races.options, races.blocks.raced, "lines");
        CHECK(on.saved.size() == count);
        CHECK(run(world, races, on).text == whole.text);
      }
    }
  }
}

// As another run reads what one has left.
std::vector<MeasuredTrial> known_of(const SyntheticRaces& races, const std::vector<MeasuredTrial>& trials) {
  std::string text;
  for (const MeasuredTrial& trial : trials) text += to_line(trial) + "\n";
  return known_trials(text, races.space, races.blocks.raced, "lines");
}

TEST_CASE("what another race has measured is not measured again and is known from the beginning",
          "[racing]") {
  const Communicator world = Communicator::world();
  for (const bool losses : {true, false}) {
    SyntheticRaces first = losses ? with_end_losses() : SyntheticRaces();
    first.options.generations = 25;
    const Outcome before = run(Communicator::self(), first);
    const std::vector<MeasuredTrial> known = known_of(first, before.trials);
    std::set<std::pair<Assignment, std::int64_t>> measured;
    for (const MeasuredTrial& one : known) CHECK(measured.emplace(one.trial.assignment, one.block).second);
    std::vector<MeasuredTrial> turned = before.trials;
    std::reverse(turned.begin(), turned.end());
    for (MeasuredTrial& one : turned) one.generation = one.island = 0;  // as in the archive of who was told
    CHECK(known_of(first, turned).size() == known.size());

    // Another seed, number of islands and length: with the same target, a smaller, a larger one, several,
    // and levels that have to sum up.
    for (const int target : {550, 450, 650, 0, -1}) {
      SyntheticRaces next = losses ? with_end_losses() : SyntheticRaces();
      next.options.seed = 5;
      next.options.generations = 6;
      next.options.islands = 4;
      next.options.topology = make_topology("ring", "1", 2, 4, 1);
      if (target > 0) next.budgets = {Budget::of_parameters(next.space, target)};
      if (target == 0)
        next.budgets = {Budget::of_parameters(next.space, 500), Budget::of_parameters(next.space, 700)};
      if (target < 0) next.budgets = {Budget::of_level(next.space, 2)};
      Hooks hooks;
      hooks.known = known;
      const Outcome outcome = run(Communicator::self(), next, hooks),
                    without = run(Communicator::self(), next);
      REQUIRE(outcome.code == 0);
      std::int64_t told = 0;
      for (const MeasuredTrial& one : outcome.trials) {
        CHECK(!measured.contains({one.trial.assignment, one.block}));
        const std::size_t size = static_cast<std::size_t>(one.island) % next.budgets.size();
        CHECK(next.budgets[size].met_by(one.trial.assignment));
        if (one.generation == 1 && one.trial.origin == Origin::immigrant) ++told;
      }
      double all = 0, all_without = 0;
      for (std::int64_t island = 0; island < 4; ++island) {
        const Standing& last = outcome.standings.at({island, 6});
        all += next.loss(last.incumbent);
        all_without += next.loss(without.standings.at({island, 6}).incumbent);
        std::int64_t trials = 0;
        for (const MeasuredTrial& one : outcome.trials) trials += one.island == island ? 1 : 0;
        CHECK(last.evaluations == trials);
      }
      INFO(losses << " target " << target << ": " << all << ", without " << all_without);
      CHECK(all < 1.05 * all_without);
      if (target != 550) CHECK(told > 0);  // those were moved into the budget
      check_same_as_alone(next, world, known);
      check_same_as_alone(next, world, known_of(first, turned));
      // And gone on with.
      Hooks on = uneven_paces(world);
      on.known = known;
      for (std::size_t i = 0; i < outcome.trials.size(); i += 2) on.saved.push_back(outcome.trials[i]);
      CHECK(run(world, next, on).text == outcome.text);
    }
  }
}

TEST_CASE("a race in which nothing is finite ends with a numerical error", "[racing]") {
  const Communicator world = Communicator::world();
  Hooks hooks;
  hooks.broken = true;
  const Outcome outcome = run(world, SyntheticRaces(), hooks);
  CHECK(outcome.code == static_cast<int>(ExitCode::numerical));
  CHECK(world.sum(std::int64_t{outcome.own ? 1 : 0}) >= 1);
}
