#include "support/catch.hpp"
#include "synthetic_search.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <new>
#include <thread>

#include <galapagos/core/error.hpp>

using namespace galapagos;
using test::Hooks;
using test::Outcome;
using test::run_search;
using test::SyntheticSearch;

namespace {

SyntheticSearch short_search() {
  SyntheticSearch search;
  search.options.generations = 3;
  search.options.stages = {{2, 20}, {1, 40}};
  search.options.offspring = 6;
  search.options.eval_every = 2;
  search.topology("ring", "1", 2);
  return search;
}

// Counts what happens on this rank, and lets the rank fail the `at`-th time (from 0).
class Trap {
 public:
  Trap(bool armed, int at, std::function<void()> fail) : armed_(armed), at_(at), fail_(std::move(fail)) {}
  void step() {
    if (armed_ && count_++ == at_) fail_();
    // Ranks come to things at different times.
    if (count_ % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

 private:
  bool armed_;
  int at_;
  std::function<void()> fail_;
  int count_ = 0;
};

// Every rank has ended with `code`, one of them with its own error.
void check_all_ended(const Communicator& world, const Outcome& outcome, int code) {
  CHECK(outcome.code == code);
  CHECK(world.sum(std::int64_t{outcome.own ? 1 : 0}) == 1);
}

// What rank 0's observer was told is the beginning of what it is told by a whole search.
void check_beginning(const Outcome& outcome, const Outcome& whole) {
  CHECK(outcome.said.size() <= whole.said.size());
  CHECK(std::equal(
      outcome.said.begin(),
      outcome.said.begin() + static_cast<std::ptrdiff_t>(std::min(outcome.said.size(), whole.said.size())),
      whole.said.begin()));
}

// Lets each rank fail at each of its steps, one after the other; `place` is where the steps are. Which rank
// evaluates a candidate is a matter of time, so a rank may come to fewer steps than in the run before; then
// the search has to come to its end unharmed.
void fail_everywhere(const Communicator& world, const SyntheticSearch& search,
                     std::function<void()> Hooks::*place, int code, const std::function<void()>& fail,
                     int stride = 1) {
  int steps = 0;
  Hooks count;
  count.*place = [&] { ++steps; };
  const Outcome whole = run_search(Communicator::self(), search, count);
  int failures = 0;
  for (int loser = 0; loser < world.size(); ++loser) {
    for (int at = 0;; at += stride) {
      Trap trap(world.rank() == loser, at, fail);
      Hooks hooks;
      hooks.*place = [&] { trap.step(); };
      const Outcome outcome = run_search(world, search, hooks);
      INFO("rank " << loser << " fails at its step " << at);
      check_beginning(outcome, whole);
      if (world.any(outcome.code != 0)) {
        check_all_ended(world, outcome, code);
        ++failures;
        continue;
      }
      CHECK(test::text_of(outcome.last) == test::text_of(whole.last));
      if (at >= steps / world.size()) break;
    }
  }
  CHECK(failures > 0);
}

}  // namespace

TEST_CASE("an error of any evaluation on any rank ends all of them", "[failures]") {
  const Communicator world = Communicator::world();
  fail_everywhere(world, short_search(), &Hooks::before_candidate, 3,
                  [] { throw InputError("x", "y", "z"); });
  SyntheticSearch one_island = short_search();
  one_island.options.islands = 1;
  one_island.topology("ring", "1", 1);
  fail_everywhere(world, one_island, &Hooks::before_candidate, 1, [] { throw std::runtime_error("x"); });
  SyntheticSearch five_islands = short_search();
  five_islands.options.islands = 5;
  five_islands.topology("complete", "2", 1);
  fail_everywhere(
      world, five_islands, &Hooks::before_candidate, 4, [] { throw std::bad_alloc(); }, 3);
}

TEST_CASE("an error of the further figures ends all ranks", "[failures]") {
  const Communicator world = Communicator::world();
  fail_everywhere(world, short_search(), &Hooks::before_extra, 3, [] { throw InputError("x", "y", "z"); });
}

TEST_CASE("an error of the observer ends all ranks", "[failures]") {
  const Communicator world = Communicator::world();
  fail_everywhere(world, short_search(), &Hooks::before_observer, 4,
                  [] { throw ResourceError("disk", "y", "z"); });
}

TEST_CASE("errors on several ranks at once end in one", "[failures]") {
  const Communicator world = Communicator::world();
  for (int at = 0; at < 12; ++at) {
    Trap trap(true, at, [&] {
      if (world.rank() % 2 == 0) throw InputError("x", "y", "z");
      throw NumericalError("x", "y", "z");
    });
    Hooks hooks;
    hooks.before_candidate = [&] { trap.step(); };
    const Outcome outcome = run_search(world, short_search(), hooks);
    const std::int64_t codes = world.max(std::int64_t{outcome.code});
    CHECK((codes == 3 || codes == 5));
    check_all_ended(world, outcome, static_cast<int>(codes));
  }
}

TEST_CASE("a search can be stopped at any moment, on the word of any rank", "[failures]") {
  const Communicator world = Communicator::world();
  const SyntheticSearch search = short_search();
  const Outcome whole = run_search(Communicator::self(), search);
  for (int who = -1; who < world.size(); ++who) {  // -1: all ranks at once, as by a signal
    bool stopped = true;
    for (int at = 0; stopped; at += 1 + at / 8) {
      Trap slow(false, 0, {});
      int asked = 0;
      Hooks hooks;
      hooks.before_candidate = [&] { slow.step(); };
      hooks.interrupted = [&]() -> std::optional<std::string> {
        if ((who < 0 || world.rank() == who) && asked++ >= at) return "a test";
        return std::nullopt;
      };
      const Outcome outcome = run_search(world, search, hooks);
      stopped = world.any(outcome.code != 0);
      INFO("rank " << who << " asks at its question " << at);
      check_beginning(outcome, whole);
      if (!stopped) {
        CHECK(outcome.said == (world.is_root() ? whole.said : std::vector<std::string>()));
        break;
      }
      check_all_ended(world, outcome, 75);
      if (outcome.own) CHECK(test::contains(outcome.message, "stopped by a test in generation"));
      // What was told can be gone on from.
      Population start = search.start();
      if (world.is_root() && !outcome.populations.empty()) start = outcome.populations.back();
      if (world.is_root()) {
        const Outcome resumed = run_search(Communicator::self(), search, start);
        CHECK(test::text_of(resumed.last) == test::text_of(whole.last));
      }
    }
  }
}

TEST_CASE("a search that is stopped has told of every generation that all ranks had done", "[failures]") {
  const Communicator world = Communicator::world();
  for (const std::int64_t islands : {4, 1, 5}) {
    SyntheticSearch search;
    search.options.islands = islands;
    search.options.eval_every = 0;
    search.options.generations = 5;
    for (const std::int64_t interval : {1, 3}) {
      search.topology("ring", "1", interval);
      // Whoever measures anything of an island's generation has the one before behind it, with its island.
      std::map<std::vector<std::int32_t>, std::pair<std::size_t, std::int64_t>> stages;
      std::size_t calls = 0;
      Hooks alone;
      alone.seen = [&](const Assignment&, const std::vector<Assignment>&, const TokenDraw& draw) {
        const std::size_t turn = calls++ / search.options.stages.size(),
                          count = static_cast<std::size_t>(islands);
        stages[draw.tokens] = {turn % count, static_cast<std::int64_t>(turn / count)};
      };
      CHECK(run_search(Communicator::self(), search, alone).code == 0);
      std::vector<std::int64_t> behind(static_cast<std::size_t>(islands));
      Hooks count;
      count.seen = [&](const Assignment&, const std::vector<Assignment>&, const TokenDraw& draw) {
        const auto [island, done] = stages.at(draw.tokens);
        behind[island] = std::max(behind[island], done);
      };
      CHECK(run_search(world, search, count).code == 0);
      for (int at = 1; at < 60; at += 3) {
        std::fill(behind.begin(), behind.end(), 0);
        Hooks hooks = count;
        int asked = 0;
        Trap slow(false, 0, {});
        hooks.before_candidate = [&] { slow.step(); };
        hooks.interrupted = [&]() -> std::optional<std::string> {
          return asked++ >= at ? std::optional<std::string>("a test") : std::nullopt;
        };
        const Outcome outcome = run_search(world, search, hooks);
        std::int64_t done_by_all = search.options.generations;
        for (const std::int64_t done : behind) done_by_all = std::min(done_by_all, world.max(done));
        if (!world.is_root()) continue;
        INFO(islands << " islands, stopped at question " << at);
        CHECK(static_cast<std::int64_t>(outcome.populations.size()) >= done_by_all);
      }
    }
  }
}

TEST_CASE("where nothing has a finite fitness, the search ends as a numerical failure", "[failures]") {
  const Communicator world = Communicator::world();
  for (const double value :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    Hooks hooks;
    hooks.fitness = [&](const Assignment&, const TokenDraw&) { return value; };
    const Outcome outcome = run_search(world, short_search(), hooks);
    check_all_ended(world, outcome, 5);
    if (outcome.own) CHECK(test::contains(outcome.message, "no candidate of island"));
  }
  // Only in the common comparison, whose draw is of other size.
  Hooks hooks;
  hooks.fitness = [&](const Assignment& assignment, const TokenDraw& draw) {
    return draw.tokens.size() == 60 ? std::numeric_limits<double>::quiet_NaN()
                                    : test::synthetic_fitness(assignment, draw);
  };
  const Outcome outcome = run_search(world, short_search(), hooks);
  check_all_ended(world, outcome, 5);
  if (world.is_root()) CHECK(outcome.said.size() == 2);
  if (outcome.own) CHECK(test::contains(outcome.message, "common tokens"));
}
