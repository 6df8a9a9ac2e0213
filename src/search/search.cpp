#include "answers.hpp"
#include "choice_end.hpp"
#include "followers.hpp"
#include "gradient_start.hpp"
#include "learned_start.hpp"
#include "race_lead.hpp"
#include "recorder.hpp"
#include "search_memory.hpp"
#include "true_latency.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/tensor/page_lock.hpp>

namespace galapagos {
namespace {

using Interrupted = std::function<std::optional<std::string>()>;

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

/// What is asked of a race that it does not do.
void warn_of_races(const SearchSetup& setup) {
  const EvolutionOptions& evolution = setup.options.evolution;
  if (evolution.topology.most_migrants() > 1)
    log_warning("in races only the incumbent of an island migrates, however many --migrants");
  if (evolution.racing.held_back > 0 && setup.blocks.held_back.tokens.empty())
    log_warning("one block of tokens only: nothing is held back, and the end is chosen on what was raced on");
}

void log_beginning(const SearchSetup& setup, const ReplicaGrid& grid) {
  const std::int64_t dense = setup.space.fixed_parameters + setup.space.dense_parameters();
  const Assignment uniform = setup.budgets.front().uniform();
  log_info("{} modules, {} parameters of {} prunable; the uniform assignment leaves {} of {}",
           setup.space.modules.size(), count(setup.space.dense_parameters()), count(dense),
           count(setup.space.parameters(uniform)), count(dense));
  log_info("{} islands on {}, {} generations of {} offspring; pool of {} calibration tokens",
           setup.options.evolution.islands,
           grid.shards() == 1 ? fmt::format("{} ranks", grid.replicas())
                              : fmt::format("{} replicas of {} shards", grid.replicas(), grid.shards()),
           setup.options.evolution.generations, setup.options.evolution.offspring,
           count(static_cast<std::int64_t>(setup.pools.compared.tokens.size())));
  if (!setup.options.archive.empty()) {
    log_info("{} measurements are known from another race, {}", count(std::ssize(setup.archive.known)),
             setup.options.archive.string());
  }
  const FineTuning& tuning = setup.options.tuning;
  if (!trains(setup.options.evolution) &&
      (!setup.options.training_data.empty() || tuning.unmasked ||
       (tuning.options.recompute && setup.options.evolution.start.kind != StartKind::gradient))) {
    log_warning("options of the fine-tuning are given, but without --training-tokens nothing is fine-tuned");
  }
  if (setup.options.evolution.strategy == StrategyKind::racing) warn_of_races(setup);
}

/// What is there as long as levels are learned.
struct Learning {
  std::unique_ptr<RelaxedModel> model;
  double sums = 0;  ///< seconds of sums over shards
};

/// The levels of every module.
std::vector<Assignment> all_levels(const SearchSpace& space, std::span<const Assignment> candidates) {
  std::vector<Assignment> levels;
  for (const Assignment& candidate : candidates) levels.push_back(space.of_every_module(candidate));
  return levels;
}

/// What a replica is asked to measure.
Followers::Work measurements(Replica& replica, const Shards& shards, const SearchSetup& setup,
                             const DenseAnswers& answers, const std::vector<EvalPart>& parts,
                             Learning& learning) {
  Followers::Work work;
  work.gradient = [&](const RelaxedPoint& point, const TokenDraw& draw, const std::function<bool()>& stop) {
    if (!learning.model) {
      learning.model = replica.relaxed(setup.options.fitness, std::max(piece_tokens, setup.longest),
                                       setup.options.tuning.options.recompute);
    }
    const double before = shards.seconds();
    auto found = learning.model->gradient(point, setup.pools.compared, draw, answers, stop);
    learning.sums += shards.seconds() - before;
    return found;
  };
  work.fitness = [&](const Assignment& base, std::span<const Assignment> candidates,
                     const StageTokens& tokens, const std::function<bool()>& stop) {
    learning.model.reset();
    const std::vector<Assignment> levels = all_levels(setup.space, candidates);
    if (tokens.training.tokens.empty()) {
      return replica.fitness(setup.options.fitness, setup.space.of_every_module(base), levels,
                             setup.pools.compared, tokens.compared, answers, stop);
    }
    return replica.tuned_fitness(setup.options.fitness, setup.options.tuning, levels, tokens.training,
                                 setup.pools.compared, tokens.compared, answers, stop);
  };
  work.losses = [&](const Assignment& base, std::span<const Assignment> candidates, const TokenDraw& draw,
                    const std::function<bool()>& stop) {
    learning.model.reset();
    return replica.losses(setup.options.fitness, setup.space.of_every_module(base),
                          all_levels(setup.space, candidates), setup.pools.compared, draw, answers, stop);
  };
  work.choices = [&](const Assignment& base, std::span<const Assignment> candidates, const TokenDraw& draw,
                     const std::function<bool()>& stop) {
    learning.model.reset();
    return replica.losses({FitnessKind::nll, 0}, setup.space.of_every_module(base),
                          all_levels(setup.space, candidates), setup.choices.tokens, draw, {}, stop);
  };
  work.extra = [&](const Assignment& assignment, std::size_t item) {
    const EvalPart& piece = parts[item];
    const Assignment levels = setup.space.of_every_module(assignment);
    return replica
        .fitness({FitnessKind::nll, 0}, levels, std::span(&levels, 1), setup.eval_sets[piece.set], piece.draw,
                 {}, {})
        ->front();
  };
  return work;
}

/// On the replicas' roots: the evolution, written down by the first of them.
void lead(const ReplicaGrid& grid, const SearchSetup& setup, const Strategy& strategy, Population start,
          Followers& followers, const Replica& replica, std::size_t parts, TrueLatency& latency,
          std::optional<Recorder>& recorder, const Interrupted& interrupted, PhaseTimes& times) {
  const Followers::Work led = followers.led();
  Evaluator evaluator;
  evaluator.fitness = led.fitness;
  evaluator.extra = led.extra;
  evaluator.extra_items = parts;
  evaluator.seconds = [&] { return replica.seconds(); };
  Observer observer;
  observer.generation = [&](const Population& population, std::span<const Migration> migrations) {
    recorder->generation(population, migrations);
  };
  const bool asks = setup.choices.count() > 0;
  std::optional<Comparison> last_compared;  // on the root, where questions are asked at the end
  observer.comparison = [&](const Population& population, const Comparison& comparison) {
    if (asks && population.generation >= setup.options.evolution.generations) {
      last_compared = comparison;
    } else {
      recorder->comparison(population, comparison);
    }
  };
  const Interrupted any_interrupted = [&] {
    auto reason = interrupted();
    if (!reason && followers.asked_to_stop()) reason = "a signal";
    return reason;
  };
  const bool leads_races =
      setup.options.evolution.strategy == StrategyKind::racing || setup.budgets.size() > 1;
  std::vector<EndLosses> near;
  // A race that goes on for longer begins where it began, too.
  if (setup.options.evolution.start.kind == StartKind::gradient && (start.generation == 0 || leads_races)) {
    near = start_by_gradient(grid.same_shard(), setup, led.gradient, led.losses, start, recorder,
                             any_interrupted, times);
  }
  if (leads_races) {
    lead_races(grid.same_shard(), setup, start, near, led.losses, led.choices, evaluator, recorder,
               any_interrupted, times);
  } else {
    const Population last =
        evolve(grid.same_shard(), setup.space, strategy, setup.options.evolution, setup.pools,
               std::move(start), evaluator, observer, any_interrupted, &times);
    if (asks) {
      end_by_choices(grid.same_shard(), setup, last, std::move(last_compared), led.choices, evaluator,
                     recorder, any_interrupted, times);
    }
  }
  latency.meet(grid.same_shard(),
               {near.empty() ? EndLosses() : near.front(), evaluator, recorder, any_interrupted, times});
}

/// Collective. Work of some ranks, which have agreed on its errors among themselves; then all do. `finally`
/// is collective too, and comes also where the work was stopped early.
void run_and_agree(const Communicator& comm, const std::function<void()>& work,
                   const std::function<void()>& end_work, const std::function<void()>& finally) {
  std::exception_ptr failure;
  try {
    work();
  } catch (const Error& error) {
    if (!error.agreed()) throw;  // ends all ranks
    failure = std::current_exception();
  }
  end_work();
  try {
    agree(comm, [&] {
      if (failure) std::rethrow_exception(failure);
    });
  } catch (const Error& error) {
    if (error.code() == ExitCode::stopped_early) finally();  // so it is on all ranks
    throw;
  } finally();
}

}  // namespace

void run_search(const Communicator& world, const ops::Context& context, const SearchOptions& asked) {
  watch_signals();  // on all ranks before one of them has the lock
  const Communicator comm = world.duplicate();
  agree(comm, [&] { check_shards(comm.size(), asked.shards); });
  const ReplicaGrid grid(comm, asked.shards);
  const Communicator node = comm.split_node();
  const Stopwatch watch;
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const RunFolder folder(asked.output);
  std::optional<OutputLock> run_lock;
  Found found = Found::nothing;
  agree_at_root(comm, [&] {  // before the work that comes first
    check_resume(asked);
    std::error_code none;
    if (asked.target.by_latency() &&
        std::filesystem::equivalent(asked.target.latency_table, asked.output / "latency.csv", none))
      throw UsageError("the table of this very run, which it replaces", "--latency-table",
                       "copy it elsewhere, or give another --output");
    if (!asked.dry_run) run_lock.emplace(asked.output, true);
    if (asked.fresh) return folder.clear(true);
    found = folder.found();
    check_found(asked.resume, found, "search", asked.output.string());
  });
  found = comm.broadcast_value(found);
  SearchSetup made = make_setup(comm, asked, context);
  const SearchSetup& setup = made;
  TrueLatency latency(context, asked.target, setup);
  if (!asked.dry_run && asked.target.by_latency()) {  // before a replica takes up memory
    phase.emplace(&times, "timing whole models");
    std::string saved;
    agree_at_root(comm, [&] {
      if (found == Found::nothing || !setup.whole.timing) return;
      folder.resume(setup.space, setup.identity, setup.options.evolution.islands);  // only to see that it may
      saved = folder.read_text("latency.csv");
      if (saved.empty())
        throw InputError("what this search has timed is missing", (asked.output / "latency.csv").string(),
                         "put it back, or begin anew with --fresh");
    });
    latency.fit_start(comm, comm.broadcast_string(saved), made);
    latency.keep_in(folder);
    phase.emplace(&times, "reading");
  }
  const SearchOptions& options = setup.options;
  const SearchMemory memory = plan_memory(comm, node, grid, setup, context.device());
  if (comm.is_root()) log_beginning(setup, grid);
  if (options.dry_run) return;

  const auto strategy = make_strategy(setup.space, setup.budgets.front(), setup.options.evolution);
  std::optional<SearchCheckpoint> opened = open_run(comm, folder, setup, *strategy, found);
  if (!opened) return;
  SearchCheckpoint start = std::move(*opened);
  const LevelStore store(comm, *setup.database, setup.space.every_module(), memory.home, context.device());
  const Shards shards = make_shards(grid, options.make_collectives, setup.config.vocab_size);
  std::optional<Replica> replica;
  agree(comm, [&] {
    replica.emplace(context, *setup.checkpoint, setup.config, setup.space.every_module(), store,
                    setup.precision, options.batch_tokens, setup.longest, memory.cache_limit, shards,
                    memory.kept_logits);
  });
  const Interrupted interrupted = [&]() -> std::optional<std::string> {
    if (stop_requested()) return "a signal";
    if (options.max_seconds > 0 && watch.seconds() > options.max_seconds) return "--max-walltime";
    return std::nullopt;
  };
  phase.emplace(&times, "evaluating the unpruned model");
  NodeBuffer buffer;
  if (memory.answers > 0) {
    buffer = compute_answers(comm, node, grid, shards, setup.pools.compared, setup.config.hidden_size,
                             *replica, options.batch_tokens, interrupted);
  }
  const PageLock lock(buffer.bytes(), context.device(), "the unpruned model's answers");
  const DenseAnswers answers{reinterpret_cast<const float*>(buffer.bytes().data()),
                             buffer.bytes().size() / sizeof(float)};
  phase.reset();

  const double sums_before = shards.seconds();
  const std::vector<EvalPart> parts = cut_eval_data(setup.eval_sets, options.batch_tokens);
  Learning learning;
  const Followers::Work work = measurements(*replica, shards, setup, answers, parts, learning);
  Followers followers(grid.of_replica(), work);
  std::optional<Recorder> recorder;
  if (comm.is_root()) recorder.emplace(folder, setup, comm.size(), parts, start);
  RunReport report;
  run_and_agree(
      comm,
      [&] {
        if (!shards.is_root()) return followers.follow(times, stop_requested);
        lead(grid, setup, *strategy, std::move(start.population), followers, *replica, parts.size(), latency,
             recorder, interrupted, times);
      },
      [&] {
        if (shards.is_root()) followers.end();
      },
      [&] {
        times.move("evaluating", "fine-tuning", replica->seconds().training);
        times.move("evaluating", "building levels", replica->seconds().switching);
        if (setup.options.evolution.start.kind == StartKind::gradient)
          times.move("learning levels", "communicating", learning.sums);
        times.move("evaluating", "communicating", shards.seconds() - sums_before - learning.sums);
        report = report_run(comm, times);
      });
  agree_at_root(comm, [&] { recorder->finish(report); });
}

}  // namespace galapagos
