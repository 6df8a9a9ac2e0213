// The strategy racing over ranks: the efficiency of its own work with evaluations that only sleep.
//   for n in 1 4 16 64; do mpirun --oversubscribe --bind-to none -n $n bench_racing; done
//   bench_racing [milliseconds of an evaluation = 50] [generations = 48] [repeats = 1] [lags = 1 3 7]
#include "sleeping_search.hpp"
#include "synthetic_search_model.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sys/resource.h>
#include <thread>
#include <tuple>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/search/racing.hpp>

using namespace galapagos;

namespace {

struct Settings {
  double seconds_each = 0.05;
  std::int64_t generations = 48;
  int repeats = 1;
  std::vector<std::int64_t> lags;
};

EvolutionOptions options_for(std::int64_t islands, std::int64_t offspring, std::int64_t generations,
                             std::int64_t lag) {
  EvolutionOptions options;
  options.strategy = StrategyKind::racing;
  options.islands = islands;
  options.generations = generations;
  options.offspring = offspring;
  options.racing.lag = lag;
  options.racing.tokens = 100;
  options.seed = 5;
  options.topology = make_topology("ring", "1", 5, islands, options.seed);
  return options;
}

/// A loss of each token with noise of its own, so that a challenger takes some blocks to be judged.
std::vector<double> losses_of(const Assignment& candidate, const TokenDraw& draw) {
  Hash64 hash;
  hash.add(std::as_bytes(std::span(candidate)));
  hash.add(std::as_bytes(std::span(draw.tokens)));
  std::mt19937_64 random(hash.value() + 1);
  std::normal_distribution<double> noise(bench::synthetic_loss(candidate), 50);
  std::vector<double> losses(draw.tokens.size());
  for (double& loss : losses) loss = noise(random);
  return losses;
}

/// Seconds of a process's own work so far.
double busy_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Outcome {
  double seconds = 0;                          // since this rank's first evaluation
  double wanted = 0, slept = 0;                // of its evaluations
  double busy = 0;                             // of its own
  std::int64_t evaluations = 0;                // of all islands
  std::vector<std::vector<double>> durations;  // on rank 0, of each island's trials in their order
};

/// A race whose evaluations sleep, or where it is not `awake` only says how long each would last.
Outcome run(const Communicator& comm, const EvolutionOptions& options, double mean, bool awake) {
  const SearchSpace space = bench::synthetic_space();
  const std::vector<Budget> budgets = {Budget::of_level(space, 5)};
  const TokenSet pool = bench::random_tokens(1000, 2000, 50, 7);
  const TokenBlocks blocks = cut_blocks(pool, options.racing.tokens, 0.125, RandomStream(options.seed, {}));
  Outcome outcome;
  std::optional<Stopwatch> since_first;
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, double> durations;
  Racing racing{budgets, blocks.raced, {}, {}, {}, [] { return std::optional<std::string>(); }};
  racing.losses = [&](const Assignment&, std::span<const Assignment> candidates, const TokenDraw& draw,
                      const std::function<bool()>& stop) -> std::optional<TokenLosses> {
    if (!since_first) since_first.emplace();
    TokenLosses losses;
    for (const Assignment& candidate : candidates) {
      if (stop()) return std::nullopt;
      losses.push_back(losses_of(candidate, draw));
      const double seconds = bench::random_seconds(candidate, draw, mean);
      outcome.wanted += seconds;
      if (!awake) continue;
      const Stopwatch watch;
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      outcome.slept += watch.seconds();
    }
    return losses;
  };
  if (!awake) {
    racing.measured = [&](const std::string& lines) {
      for (const MeasuredTrial& one : trials_of(lines, space, options, blocks.raced, "lines")) {
        durations[{one.island, one.generation, one.index}] = bench::random_seconds(
            one.trial.assignment, blocks.raced[static_cast<std::size_t>(one.block)], mean);
      }
    };
  }
  const std::vector<Assignment> starts(static_cast<std::size_t>(options.islands), budgets[0].uniform());
  const double before = busy_seconds();
  for (const Standing& standing : race(comm, space, options, racing, starts))
    outcome.evaluations += standing.evaluations;
  outcome.busy = busy_seconds() - before;
  outcome.seconds = since_first ? since_first->seconds() : 0;
  outcome.durations.resize(static_cast<std::size_t>(options.islands));
  for (const auto& [of, seconds] : durations)
    outcome.durations[static_cast<std::size_t>(std::get<0>(of))].push_back(seconds);
  return outcome;
}

/// The least that it can take: the ranks of an island take one trial after the other and never wait.
double least_seconds(int ranks, const EvolutionOptions& options, double mean) {
  const Outcome alone = run(Communicator::self(), options, mean, false);
  const std::vector<std::size_t> workers = bench::workers(ranks, options.islands);
  std::vector<std::vector<double>> of_groups(workers.size());
  for (std::size_t island = 0; island < alone.durations.size(); ++island) {
    std::vector<double>& all = of_groups[island * workers.size() / alone.durations.size()];
    all.insert(all.end(), alone.durations[island].begin(), alone.durations[island].end());
  }
  double least = 0;
  for (std::size_t group = 0; group < workers.size(); ++group)
    least = std::max(least, bench::greedy_seconds(of_groups[group], workers[group]));
  return least;
}

void print_row(const Communicator& world, const Settings& settings, std::int64_t islands,
               std::int64_t offspring, std::int64_t lag) {
  const EvolutionOptions options = options_for(islands, offspring, settings.generations, lag);
  double measured = INFINITY, wanted = 0, slept = 0, busy = 0;
  std::int64_t evaluations = 0;
  for (int repeat = 0; repeat < settings.repeats; ++repeat) {
    world.barrier();
    const Outcome outcome = run(world, options, settings.seconds_each, true);
    const double seconds = world.max(outcome.seconds), all_wanted = world.sum(outcome.wanted),
                 all_slept = world.sum(outcome.slept), all_busy = world.sum(outcome.busy);
    if (seconds >= measured) continue;
    measured = seconds;
    wanted = all_wanted;
    slept = all_slept;
    busy = all_busy;
    evaluations = outcome.evaluations;
  }
  if (!world.is_root()) return;
  const double ideal = wanted / world.size();
  const double least = least_seconds(world.size(), options, settings.seconds_each);
  fmt::print("{:>5} {:>7} {:>9} {:>4} {:>12} {:>9.2f} {:>9.1f} {:>10.1f}% {:>8.1f}% {:>9.1f}% {:>12.0f}\n",
             world.size(), islands, offspring, lag, evaluations, measured,
             static_cast<double>(evaluations) / measured, 100 * ideal / measured, 100 * ideal / least,
             100 * (slept / wanted - 1), 1e6 * busy / static_cast<double>(evaluations));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const MpiEnvironment environment(argc, argv);
  const Communicator world = Communicator::world();
  Settings settings;
  if (argc > 1) settings.seconds_each = 1e-3 * std::max(0.1, std::atof(argv[1]));
  if (argc > 2) settings.generations = std::max(1, std::atoi(argv[2]));
  if (argc > 3) settings.repeats = std::max(1, std::atoi(argv[3]));
  for (int i = 4; i < argc; ++i) settings.lags.push_back(std::max(0, std::atoi(argv[i])));
  if (settings.lags.empty()) settings.lags = {1, 3, 7};
  if (world.is_root()) {
    fmt::print(
        "{} ranks on {} processors; evaluations that sleep {:.1f} ms on average (exponential), {} "
        "generations; "
        "least of {} runs\n",
        world.size(), usable_processors(), 1e3 * settings.seconds_each, settings.generations,
        settings.repeats);
    fmt::print(
        "efficiency = time of all evaluations / ranks / measured time; possible: where every rank of an "
        "island "
        "always has a next trial; work: processor time of all ranks beside the sleeping, of an evaluation\n");
    fmt::print("{:>5} {:>7} {:>9} {:>4} {:>12} {:>9} {:>9} {:>11} {:>9} {:>10} {:>12}\n", "ranks", "islands",
               "offspring", "lag", "evaluations", "seconds", "evals/s", "efficiency", "possible", "overslept",
               "work, us");
    std::fflush(stdout);
  }
  // Islands and offspring as in bench_islands.
  std::vector<std::pair<std::int64_t, std::int64_t>> rows = {{world.size(), 16}};
  if (world.size() >= 4) rows.emplace_back(world.size() / 4, 16);
  if (world.size() >= 4) rows.emplace_back(world.size() / 4, 64);
  if (world.size() > 16) rows.emplace_back(4, 16);
  if (world.size() > 16) rows.emplace_back(4, 64);
  for (const auto& [islands, offspring] : rows) {
    for (const std::int64_t lag : settings.lags) print_row(world, settings, islands, offspring, lag);
  }
}
