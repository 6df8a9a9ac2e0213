// Islands over ranks: the efficiency of the search's own work with evaluations that only sleep, and
// evaluations per second of a synthetic Llama.
//   for n in 1 2 4 16 64; do mpirun --oversubscribe --bind-to none -n $n bench_islands; done
//   bench_islands [milliseconds of an evaluation = 20] [generations = 12] [repeats = 3]
#include "sleeping_search.hpp"
#include "synthetic_search_model.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <omp.h>
#include <thread>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/progress.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t compare_tokens = 64;  // by these an evaluator knows the comparison of the islands
constexpr int most_ranks_with_model = 4;

struct Settings {
  double seconds_each = 0.02;
  std::int64_t generations = 12;
  int repeats = 3;
};

/// What candidates are like.
enum class Kind : std::uint8_t {
  fixed,    ///< all last as long
  random,   ///< exponential durations
  trained,  ///< the same, and a rank takes one at a time, as where a stage trains its candidates
};

const char* name_of(Kind kind) {
  return kind == Kind::fixed ? "fixed" : kind == Kind::random ? "random" : "trained";
}

/// Sixteen offspring, of which seven meet their parent in the last stage: 24 evaluations, which 1, 2, 4 and 8
/// ranks can share evenly, and one more for an immigrant; or as many times that.
EvolutionOptions options_for(std::int64_t islands, std::int64_t generations, std::int64_t tokens,
                             std::int64_t times = 1, bool trained = false) {
  EvolutionOptions options;
  options.islands = islands;
  options.generations = generations;
  options.offspring = 16 * times;
  const std::int64_t training = trained ? tokens : 0;
  options.stages = {{8 * times - 1, tokens, training}, {1, 2 * tokens, training}};
  options.compare_tokens = compare_tokens;
  options.seed = 5;
  options.topology = make_topology("ring", "1", 5, islands, options.seed);
  return options;
}

std::int64_t evaluations_of(const Population& population) {
  return std::accumulate(
      population.islands.begin(), population.islands.end(), std::int64_t{0},
      [](std::int64_t sum, const IslandState& island) { return sum + island.evaluations; });
}

/// The evaluation of a candidate as a fitness and a time, both of which depend on it and on the tokens alone.
class Sleeper {
 public:
  /// Not `awake`: only says how long the evaluations of each call last.
  Sleeper(double mean, bool random, bool awake) : mean_(mean), random_(random), awake_(awake) {}

  std::optional<std::vector<double>> fitness(std::span<const Assignment> candidates, const TokenDraw& draw,
                                             const std::function<bool()>& stop) {
    const bool comparison = static_cast<std::int64_t>(draw.tokens.size()) == compare_tokens;
    if (!since_first_) since_first_.emplace();
    std::vector<double> values, durations;
    for (const Assignment& candidate : candidates) {
      if (stop()) return std::nullopt;
      values.push_back(bench::synthetic_loss(candidate));
      if (comparison) continue;
      const double seconds = duration(candidate, draw);
      wanted += seconds;
      durations.push_back(seconds);
      if (!awake_) continue;
      const Stopwatch watch;
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      slept += watch.seconds();
    }
    if (!comparison) calls.push_back(durations);
    return values;
  }

  /// Since the first call, the setting up of communicators left out.
  double seconds() const { return since_first_->seconds(); }

  double wanted = 0, slept = 0;            // seconds
  std::vector<std::vector<double>> calls;  // seconds of each evaluation

 private:
  double duration(const Assignment& candidate, const TokenDraw& draw) const {
    return random_ ? bench::random_seconds(candidate, draw, mean_) : mean_;
  }

  double mean_;
  bool random_;
  bool awake_;
  std::optional<Stopwatch> since_first_;
};

Population search(const Communicator& comm, const EvolutionOptions& options, Sleeper& sleeper) {
  const SearchSpace space = bench::synthetic_space();
  const Budget budget = Budget::of_level(space, 5);
  const TokenSet pool = bench::random_tokens(1000, 1000, 50, 7);
  const TokenPools pools{pool, trains(options) ? pool : TokenSet()};
  Evaluator evaluator;
  evaluator.fitness = [&](const Assignment&, std::span<const Assignment> candidates,
                          const StageTokens& tokens, const std::function<bool()>& stop) {
    return sleeper.fitness(candidates, tokens.compared, stop);
  };
  const auto strategy = make_strategy(space, budget, options);
  return evolve(comm, space, *strategy, options, pools, initial_population(*strategy, options.islands),
                evaluator, {}, [] { return std::optional<std::string>(); });
}

/// The least that the search can take whose ranks know no duration beforehand: the ranks of an island take
/// one candidate after the other, wait for each other after each stage, and for nothing else.
double least_seconds(int ranks, const EvolutionOptions& options, const Settings& settings, bool random) {
  EvolutionOptions whole = options;  // stages in one call each, on the same tokens
  for (SelectionStage& stage : whole.stages) stage.training_tokens = 0;
  Sleeper sleeper(settings.seconds_each, random, false);
  search(Communicator::self(), whole, sleeper);
  const std::vector<std::size_t> workers = bench::workers(ranks, options.islands);
  const auto groups = std::ssize(workers);
  std::vector<double> seconds(workers.size());
  for (std::size_t call = 0; call < sleeper.calls.size(); ++call) {
    const auto island =
        static_cast<std::int64_t>(call / options.stages.size() % static_cast<std::size_t>(options.islands));
    const auto group = static_cast<std::size_t>(island * groups / options.islands);
    seconds[group] += bench::greedy_seconds(sleeper.calls[call], workers[group]);
  }
  return *std::max_element(seconds.begin(), seconds.end());
}

void print_row(const Communicator& world, const Settings& settings, std::int64_t islands, std::int64_t times,
               Kind kind) {
  const EvolutionOptions options =
      options_for(islands, settings.generations, 100, times, kind == Kind::trained);
  const bool random = kind != Kind::fixed;
  double measured = INFINITY, wanted = 0, slept = 0, setup = 0;
  std::int64_t evaluations = 0;
  for (int repeat = 0; repeat < settings.repeats; ++repeat) {
    Sleeper sleeper(settings.seconds_each, random, true);
    world.barrier();
    const Stopwatch watch;
    const Population last = search(world, options, sleeper);
    const double all = world.max(watch.seconds()), seconds = world.max(sleeper.seconds());
    const double all_wanted = world.sum(sleeper.wanted), all_slept = world.sum(sleeper.slept);
    if (seconds >= measured) continue;
    measured = seconds;
    wanted = all_wanted;
    slept = all_slept;
    setup = all - seconds;
    evaluations = evaluations_of(last);
  }
  if (!world.is_root()) return;
  const double least = least_seconds(world.size(), options, settings, random);
  const double ideal = wanted / world.size();
  fmt::print(
      "{:>5} {:>7} {:>9} {:>9} {:>12} {:>13.3f} {:>12.1f} {:>10.1f}% {:>10.1f}% {:>10.1f}% {:>9.1f}% "
      "{:>9.1f}\n",
      world.size(), islands, options.offspring, name_of(kind), evaluations,
      static_cast<double>(settings.generations) / measured, static_cast<double>(evaluations) / measured,
      100 * ideal / measured, 100 * ideal / least, 100 * least / measured, 100 * (slept / wanted - 1),
      1e3 * setup);
  std::fflush(stdout);
}

void print_model_row(const Communicator& world, const Settings& settings, const bench::SearchModel& model,
                     const Evaluator& evaluator, std::int64_t islands) {
  const EvolutionOptions options = options_for(islands, 8 / islands, 128);
  double best = INFINITY;
  std::int64_t evaluations = 0, tokens = 0;
  for (int repeat = 0; repeat <= settings.repeats; ++repeat) {  // the first builds the modules
    world.barrier();
    const Stopwatch watch;
    const auto strategy = make_strategy(model.space, *model.budget, options);
    const Population last = evolve(world, model.space, *strategy, options, {model.pool, {}},
                                   initial_population(*strategy, options.islands), evaluator, {},
                                   [] { return std::optional<std::string>(); });
    const double seconds = world.max(watch.seconds());
    if (repeat > 0) best = std::min(best, seconds);
    evaluations = evaluations_of(last);
    tokens = 0;
    for (const IslandState& island : last.islands) tokens += island.tokens;
  }
  if (!world.is_root()) return;
  fmt::print(
      "{} ranks of {} threads on {} processors, {} islands, {} evaluations of {} tokens on average: {:.2f} "
      "evaluations, {:.0f} tokens a second\n",
      world.size(), bench::threads_per_rank(world), usable_processors(), islands, evaluations,
      tokens / evaluations, static_cast<double>(evaluations) / best, static_cast<double>(tokens) / best);
}

/// Islands of a synthetic Llama, all levels used before on the device.
void print_model(const Communicator& world, const Settings& settings) {
  const int threads = bench::threads_per_rank(world);
  const ops::Context context(Device::cpu, threads);
  const bench::SearchModel model(world, context, "");
  const LevelStore store(world, *model.database, model.space, LevelHome::device);
  Replica replica = model.replica(context, store, UINT64_MAX);
  const std::vector<float> answers = model.answers(replica);
  Evaluator evaluator;
  evaluator.fitness = [&](const Assignment& base, std::span<const Assignment> candidates,
                          const StageTokens& tokens, const std::function<bool()>& stop) {
    return replica.fitness({}, base, candidates, model.pool, tokens.compared, answers, stop);
  };
  if (world.is_root()) fmt::print("\n{}\n", model.description());
  for (const std::int64_t islands : {4, 1}) print_model_row(world, settings, model, evaluator, islands);
}

}  // namespace

int main(int argc, char** argv) {
  const MpiEnvironment environment(argc, argv);
  const Communicator world = Communicator::world();
  Settings settings;
  if (argc > 1) settings.seconds_each = 1e-3 * std::max(0.1, std::atof(argv[1]));
  if (argc > 2) settings.generations = std::max(1, std::atoi(argv[2]));
  if (argc > 3) settings.repeats = std::max(1, std::atoi(argv[3]));
  if (world.is_root()) {
    fmt::print(
        "{} ranks on {} processors; evaluations that sleep {:.1f} ms (fixed) or that on average (random, "
        "exponential), {} generations; least of {} runs\n",
        world.size(), usable_processors(), 1e3 * settings.seconds_each, settings.generations,
        settings.repeats);
    fmt::print(
        "efficiency = time of all evaluations / ranks / measured time; greedy: where every rank of an "
        "island "
        "takes the next candidate as soon as it is free, and waits only at the end of a stage\n");
    fmt::print("{:>5} {:>7} {:>9} {:>9} {:>12} {:>13} {:>12} {:>11} {:>11} {:>11} {:>10} {:>9}\n", "ranks",
               "islands", "offspring", "duration", "evaluations", "generations/s", "evals/s", "efficiency",
               "greedy", "of that", "overslept", "setup ms");
    std::fflush(stdout);
  }
  // Islands, and times sixteen offspring.
  std::vector<std::pair<std::int64_t, std::int64_t>> rows = {{world.size(), 1}};
  if (world.size() != 4 && world.size() != 16) rows.emplace_back(4, 1);
  if (world.size() >= 4) rows.emplace_back(world.size() / 4, 1);
  if (world.size() >= 4) rows.emplace_back(world.size() / 4, 4);
  if (world.size() > 16) rows.emplace_back(4, 4);
  for (const auto& [islands, times] : rows) {
    for (const Kind kind : {Kind::fixed, Kind::random, Kind::trained}) {
      if (kind == Kind::trained && islands >= world.size()) continue;  // one rank has all of a stage
      print_row(world, settings, islands, times, kind);
    }
  }
  if (world.size() <= most_ranks_with_model) print_model(world, settings);
}
