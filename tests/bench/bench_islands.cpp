// Islands over ranks: the efficiency of the search's own work with evaluations that only sleep, and
// evaluations per second of a synthetic Llama.
//   for n in 1 2 4 16 64; do mpirun --oversubscribe --bind-to none -n $n bench_islands; done
//   bench_islands [milliseconds of an evaluation = 20] [generations = 12] [repeats = 3]
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

/// A space of no model: 32 layers with ten levels each.
SearchSpace synthetic_space() {
  SearchSpace space;
  for (std::int64_t layer = 0; layer < 32; ++layer) {
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
      ModuleChoices choices;
      choices.id = {layer, kind};
      for (std::int64_t level = 10; level >= 0; --level)
        choices.parameters.push_back(level * (kind == ModuleKind::ffn ? 300 : 100));
      space.modules.push_back(std::move(choices));
    }
  }
  return space;
}

/// Sixteen offspring, of which seven meet their parent in the last stage: 24 evaluations, which 1, 2, 4 and 8
/// ranks can share evenly, and one more for an immigrant.
EvolutionOptions options_for(std::int64_t islands, std::int64_t generations, std::int64_t tokens) {
  EvolutionOptions options;
  options.islands = islands;
  options.generations = generations;
  options.offspring = 16;
  options.stages = {{7, tokens}, {1, 2 * tokens}};
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
  Sleeper(double mean, bool random) : mean_(mean), random_(random) {}

  std::optional<std::vector<double>> fitness(std::span<const Assignment> candidates, const TokenDraw& draw,
                                             const std::function<bool()>& stop) {
    const bool comparison = static_cast<std::int64_t>(draw.tokens.size()) == compare_tokens;
    if (!since_first_) since_first_.emplace();
    double busy = 0;
    std::vector<double> values;
    for (const Assignment& candidate : candidates) {
      if (stop()) return std::nullopt;
      values.push_back(value(candidate));
      if (comparison) continue;
      const double seconds = duration(candidate, draw);
      busy += seconds;
      const Stopwatch watch;
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      slept += watch.seconds();
    }
    wanted += busy;
    if (!comparison) calls.push_back(busy);
    return values;
  }

  /// Since the first call, the setting up of communicators left out.
  double seconds() const { return since_first_->seconds(); }

  double wanted = 0, slept = 0;  // seconds
  std::vector<double> calls;     // seconds wanted in each call

 private:
  static double value(const Assignment& candidate) {
    double sum = 0;
    for (std::size_t i = 0; i < candidate.size(); ++i)
      sum += (1.5 + std::sin(1.7 * static_cast<double>(i))) * candidate[i] * candidate[i];
    return sum;
  }

  double duration(const Assignment& candidate, const TokenDraw& draw) const {
    if (!random_) return mean_;
    Hash64 hash;
    hash.add(std::as_bytes(std::span(candidate)));
    hash.add(std::as_bytes(std::span(draw.tokens)));
    std::mt19937_64 random(hash.value());
    return std::exponential_distribution<double>(1 / mean_)(random);
  }

  double mean_;
  bool random_;
  std::optional<Stopwatch> since_first_;
};

/// What could be at best: the ranks of an island wait for each other after each stage, and nobody waits for
/// anything else.
double least_seconds(const Communicator& world, std::int64_t islands, const std::vector<double>& calls) {
  const auto ranks = static_cast<std::int64_t>(world.size());
  const auto group = static_cast<int>(ranks >= islands ? world.rank() * islands / ranks : world.rank());
  const Communicator together = world.split(group, world.rank());
  double sum = 0;
  for (const double seconds : calls) sum += together.max(seconds);
  return world.max(sum);
}

void print_row(const Communicator& world, const Settings& settings, std::int64_t islands, bool random) {
  const SearchSpace space = synthetic_space();
  const Budget budget = Budget::of_level(space, 5);
  const EvolutionOptions options = options_for(islands, settings.generations, 100);
  const TokenPools pools{bench::random_tokens(1000, 1000, 50, 7), {}};
  double measured = INFINITY, least = 0, wanted = 0, slept = 0, setup = 0;
  std::int64_t evaluations = 0;
  for (int repeat = 0; repeat < settings.repeats; ++repeat) {
    Sleeper sleeper(settings.seconds_each, random);
    Evaluator evaluator;
    evaluator.fitness = [&](const Assignment&, std::span<const Assignment> candidates,
                            const StageTokens& tokens, const std::function<bool()>& stop) {
      return sleeper.fitness(candidates, tokens.compared, stop);
    };
    world.barrier();
    const Stopwatch watch;
    const Population last =
        evolve(world, space, budget, options, pools, initial_population(space, budget, options), evaluator,
               {}, [] { return std::optional<std::string>(); });
    const double all = world.max(watch.seconds()), seconds = world.max(sleeper.seconds());
    const double best_possible = least_seconds(world, islands, sleeper.calls);
    const double all_wanted = world.sum(sleeper.wanted), all_slept = world.sum(sleeper.slept);
    if (seconds >= measured) continue;
    measured = seconds;
    least = best_possible;
    wanted = all_wanted;
    slept = all_slept;
    setup = all - seconds;
    evaluations = evaluations_of(last);
  }
  if (!world.is_root()) return;
  const double ideal = wanted / world.size();
  fmt::print(
      "{:>5} {:>7} {:>9} {:>12} {:>13.3f} {:>12.1f} {:>10.1f}% {:>10.1f}% {:>10.1f}% {:>9.1f}% {:>9.1f}\n",
      world.size(), islands, random ? "random" : "fixed", evaluations,
      static_cast<double>(settings.generations) / measured, static_cast<double>(evaluations) / measured,
      100 * ideal / measured, 100 * ideal / least, 100 * least / measured, 100 * (slept / wanted - 1),
      1e3 * setup);
  std::fflush(stdout);
}

/// Four islands of a synthetic Llama, all levels used before on the device.
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
  EvolutionOptions options = options_for(4, 2, 128);
  double best = INFINITY;
  std::int64_t evaluations = 0, tokens = 0;
  for (int repeat = 0; repeat <= settings.repeats; ++repeat) {  // the first builds the modules
    world.barrier();
    const Stopwatch watch;
    const Population last = evolve(world, model.space, *model.budget, options, {model.pool, {}},
                                   initial_population(model.space, *model.budget, options), evaluator, {},
                                   [] { return std::optional<std::string>(); });
    const double seconds = world.max(watch.seconds());
    if (repeat > 0) best = std::min(best, seconds);
    evaluations = evaluations_of(last);
    tokens = 0;
    for (const IslandState& island : last.islands) tokens += island.tokens;
  }
  if (!world.is_root()) return;
  fmt::print(
      "\n{}\n{} ranks of {} threads on {} processors, 4 islands, {} evaluations of {} tokens on average: "
      "{:.2f} evaluations, {:.0f} tokens a second\n",
      model.description(), world.size(), threads, usable_processors(), evaluations, tokens / evaluations,
      static_cast<double>(evaluations) / best, static_cast<double>(tokens) / best);
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
        "efficiency = time of all evaluations / ranks / measured time; at best: with nothing but the waiting "
        "of an island's ranks at the end of a stage\n");
    fmt::print("{:>5} {:>7} {:>9} {:>12} {:>13} {:>12} {:>11} {:>11} {:>11} {:>10} {:>9}\n", "ranks",
               "islands", "duration", "evaluations", "generations/s", "evals/s", "efficiency", "at best",
               "of that", "overslept", "setup ms");
    std::fflush(stdout);
  }
  std::vector<std::int64_t> islands = {world.size()};
  if (world.size() != 4) islands.push_back(4);
  for (const std::int64_t count : islands) {
    for (const bool random : {false, true}) print_row(world, settings, count, random);
  }
  if (world.size() <= most_ranks_with_model) print_model(world, settings);
}
