#include "answers.hpp"
#include "followers.hpp"
#include "records.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/node_buffer.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/search/footprint.hpp>
#include <galapagos/search/run_folder.hpp>
#include <galapagos/search/search.hpp>

namespace galapagos {
namespace {

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

void check_counts(const SearchOptions& options) {
  const EvolutionOptions& evolution = options.evolution;
  const auto at_least = [](std::int64_t value, std::int64_t least, const char* option) {
    if (value < least)
      throw UsageError(fmt::format("{}", value), option, fmt::format("give {} or more", least));
  };
  at_least(evolution.islands, 1, "--islands");
  at_least(evolution.generations, 1, "--generations");
  at_least(evolution.offspring, 1, "--offspring");
  at_least(evolution.eval_every, 0, "--eval-every");
  at_least(options.calibration_tokens, 0, "--calibration-tokens");
  at_least(evolution.compare_tokens, 0, "--compare-tokens");
  at_least(options.batch_tokens, 1, "--batch-tokens");
  at_least(options.fitness.top_k, 1, "--kl-topk");
  if (const double rate = options.tuning.options.learning_rate; !(rate > 0 && rate <= 1)) {
    throw UsageError(fmt::format("{:g}", rate), "--learning-rate", "give a number above 0 and up to 1");
  }
  if (options.max_seconds < 0)
    throw UsageError("a negative time", "--max-walltime", "give a time, as 01:30:00");
}

/// Everything that all ranks agree on before the work begins.
struct Setup {
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  std::optional<DatabaseReader> database;
  SearchSpace space;
  std::optional<Budget> budget;
  TokenPools pools;
  std::vector<TokenSet> eval_sets;
  DType precision = DType::f32;
  EvolutionOptions evolution;
  std::string identity;
  std::int64_t longest = 1;  ///< tokens of the longest sequence
};

/// What decides the course of a search; --resume compares it.
std::string identity_of(const Setup& setup, const SearchOptions& options,
                        const std::string& model_fingerprint) {
  Hash64 orders;
  for (const ModuleChoices& module : setup.space.modules) {
    for (const auto& kept : module.kept) orders.add(std::as_bytes(std::span(kept)));
  }
  const EvolutionOptions& evolution = setup.evolution;
  Json json;
  json["model"] = model_fingerprint;
  json["database"] = hex64(orders.value());
  const DatabaseHeader& header = setup.database->header();
  json["database-calibration"] = header.calibration_fingerprint;
  json["database-rel-damp"] = header.relative_damping;
  json["database-precision"] = name_of(header.precision);
  json["calibration"] = hex64(setup.pools.compared.fingerprint());
  json["target-level"] = options.target_level.value_or(-1);
  json["parameters"] = setup.budget->parameters().value_or(-1);
  json["islands"] = evolution.islands;
  json["offspring"] = evolution.offspring;
  for (const SelectionStage& stage : evolution.stages) {
    json["survivors"].push_back(stage.survivors);
    json["tokens"].push_back(stage.tokens);
    json["training-tokens"].push_back(stage.training_tokens);
  }
  if (trains(evolution)) {
    json["training-data"] = hex64(setup.pools.training.fingerprint());
    json["learning-rate"] = options.tuning.options.learning_rate;
    json["reference-finetuning"] = options.tuning.unmasked;
  }
  json["topology"] = static_cast<int>(evolution.topology.kind);
  json["migration-interval"] = evolution.topology.interval;
  json["migrants"] = evolution.topology.migrants;
  json["matrix"] = evolution.topology.matrix;
  json["strategy"] = evolution.strategy == Strategy::random ? "random" : "evolution";
  json["fitness"] = static_cast<int>(options.fitness.kind);
  json["kl-topk"] = options.fitness.top_k;
  json["compare-tokens"] = evolution.compare_tokens;
  json["eval-every"] = evolution.eval_every;
  for (const TokenSet& set : setup.eval_sets) json["eval-data"].push_back(hex64(set.fingerprint()));
  json["precision"] = name_of(setup.precision);
  json["batch-tokens"] = options.batch_tokens;
  json["seed"] = evolution.seed;
  return json.dump();
}

/// Whether any token has another before it.
bool predicts(const TokenSet& set) {
  return set.tokens.size() > set.sequences();
}

void check_stages(Setup& setup) {
  const auto pool = static_cast<std::int64_t>(setup.pools.compared.tokens.size());
  if (!predicts(setup.pools.compared) ||
      !std::all_of(setup.eval_sets.begin(), setup.eval_sets.end(), predicts)) {
    throw InputError("only sequences of one token, which predict nothing", "--calibration, --eval-data",
                     "give longer texts or a greater --sequence-length");
  }
  for (const SelectionStage& stage : setup.evolution.stages) {
    if (stage.tokens > pool) {
      throw UsageError(fmt::format("a stage of {} tokens, but there are {} calibration tokens",
                                   count(stage.tokens), count(pool)),
                       "--tokens", "give more calibration data, or fewer tokens per stage");
    }
    if (const auto lessons = static_cast<std::int64_t>(setup.pools.training.tokens.size());
        stage.training_tokens > lessons) {
      throw UsageError(fmt::format("a stage trains on {} tokens, but there are {}",
                                   count(stage.training_tokens), count(lessons)),
                       "--training-tokens", "give more --training-data, or fewer tokens per stage");
    }
  }
  if (const std::int64_t compared = setup.evolution.compare_tokens; compared > pool) {
    throw UsageError(fmt::format("{} tokens to compare the islands on, but there are {} calibration tokens",
                                 count(compared), count(pool)),
                     "--compare-tokens", "give more calibration data, or fewer tokens");
  }
  setup.evolution.compare_tokens = compare_tokens(setup.evolution, pool);
}

Setup make_setup(const Communicator& comm, const SearchOptions& options) {
  Setup setup;
  setup.evolution = options.evolution;
  agree(comm, [&] {
    check_counts(options);
    setup.config = read_hf_config(options.model);
    setup.checkpoint.emplace(options.model);
    setup.database.emplace(options.database);
    setup.precision = options.precision.value_or(setup.checkpoint->dtype());
  });
  std::string fingerprint;
  agree_at_root(comm, [&] { fingerprint = hex64(setup.checkpoint->fingerprint()); });
  fingerprint = comm.broadcast_string(fingerprint);
  setup.space = load_space(comm, *setup.database, setup.config, fingerprint);
  SequenceRequest request;
  agree(comm, [&] {
    setup.budget = make_budget(setup.space, options);
    request.sequence_length = checked_sequence_length(options.sequence_length, setup.config);
    request.token_budget = options.calibration_tokens;
    request.add_bos = options.add_bos;
  });
  setup.pools.compared =
      load_model_sequences(comm, options.calibration, options.model, setup.config, request);
  request.token_budget = 0;
  if (trains(setup.evolution)) {
    setup.pools.training =
        options.training_data.empty()
            ? setup.pools.compared
            : load_model_sequences(comm, options.training_data, options.model, setup.config, request);
  }
  for (const std::filesystem::path& file : options.eval_data) {
    setup.eval_sets.push_back(load_model_sequences(comm, {file}, options.model, setup.config, request));
  }
  agree(comm, [&] { check_stages(setup); });
  setup.longest = request.sequence_length;
  setup.identity = identity_of(setup, options, fingerprint);
  return setup;
}

/// Collective. Decides where level weights live, and that a replica fits at all.
LevelHome choose_home(const Communicator& comm, const Communicator& node, const SearchFootprint& footprint,
                      std::optional<LevelHome> asked, std::uint64_t limit, Device device,
                      std::uint64_t answers) {
  agree(comm, [&] {
    if (footprint.dense + footprint.training > limit) {
      throw ResourceError(
          fmt::format("a replica of the model needs {}{} on a rank, which may use {} beside its share of the "
                      "unpruned model's answers",
                      human_bytes(footprint.dense),
                      footprint.training > 0 ? " and fine-tuning " + human_bytes(footprint.training) : "",
                      human_bytes(limit)),
          "memory",
          footprint.training > 0
              ? "use more --shards, --recompute, a smaller --sequence-length or fewer ranks per node, or "
                "raise "
                "--memory-limit"
              : "use more --shards, start fewer ranks per node, use fewer --calibration-tokens, or raise "
                "--memory-limit");
    }
  });
  const bool on_device = comm.all(fits_device(footprint, limit));
  // On a GPU the levels and the answers lie in the host's memory, and all else does not.
  const bool on_host =
      comm.all(device == Device::cpu ? fits_host(footprint, limit, node.size())
                                     : fits_cached(footprint, limit) &&
                                           footprint.stored + answers <= memory_share(available_memory(), 1));
  LevelHome home = on_device ? LevelHome::device : on_host ? LevelHome::host : LevelHome::file;
  home = asked.value_or(home);
  log_info("level cache: {} (all levels built {}, in the database {}; a rank may use {})", name_of(home),
           human_bytes(footprint.built), human_bytes(footprint.stored), human_bytes(limit));
  return home;
}

/// Sequences [first, last) of a set.
TokenDraw part_of(const TokenSet& set, std::size_t first, std::size_t last) {
  TokenDraw draw;
  for (std::size_t s = first; s < last; ++s) {
    const std::span<const std::int32_t> sequence = set.sequence(s);
    draw.sequences.push_back(static_cast<std::uint32_t>(s));
    draw.tokens.insert(draw.tokens.end(), sequence.begin(), sequence.end());
    draw.offsets.push_back(draw.tokens.size());
  }
  return draw;
}

/// A piece of the evaluation data that one rank measures at a time.
struct EvalPart {
  std::size_t set = 0;
  TokenDraw draw;
};

std::vector<EvalPart> cut_eval_data(const std::vector<TokenSet>& sets, std::int64_t batch_tokens) {
  std::vector<EvalPart> parts;
  for (std::size_t set = 0; set < sets.size(); ++set) {
    std::size_t first = 0;
    for (const Batch& batch : make_batches(sets[set].tokens, sets[set].offsets, batch_tokens)) {
      const std::size_t last = first + batch.offsets.size() - 1;
      EvalPart part{set, part_of(sets[set], first, last)};
      if (part.draw.predicted() > 0) parts.push_back(std::move(part));
      first = last;
    }
  }
  return parts;
}

/// Writes the run's folder as the search goes on, on rank 0.
class Recorder {
 public:
  Recorder(RunFolder folder, const Setup& setup, const SearchOptions& options, int ranks,
           const std::vector<EvalPart>& parts, const SearchCheckpoint& start)
      : folder_(std::move(folder)),
        setup_(setup),
        options_(options),
        ranks_(ranks),
        parts_(parts),
        spent_before_(start.seconds),
        progress_("generations", setup.evolution.generations, start.population.generation) {}

  void generation(const Population& population, std::span<const Migration> migrations);
  void comparison(const Population& population, const Comparison& comparison);
  /// Adds where the time went to the manifest.
  void finish(const Json& phases);

 private:
  double elapsed() const { return spent_before_ + watch_.seconds(); }

  RunFolder folder_;
  const Setup& setup_;
  const SearchOptions& options_;
  int ranks_;
  const std::vector<EvalPart>& parts_;
  double spent_before_;
  Stopwatch watch_;
  std::string started_ = utc_now();
  Progress progress_;
  Json manifest_;
};

void Recorder::generation(const Population& population, std::span<const Migration> migrations) {
  std::vector<Json> lines;
  double best = INFINITY;
  for (std::size_t i = 0; i < population.islands.size(); ++i) {
    const IslandState& island = population.islands[i];
    const GenerationReport& report = population.reports[i];
    best = std::min(best, island.elites.front().fitness);
    Json line;
    line["generation"] = population.generation;
    line["island"] = i;
    line["evaluations"] = island.evaluations;
    line["tokens"] = island.tokens;
    line["training_tokens"] = island.training_tokens;
    line["best"] = island.elites.front().fitness;
    line["mean"] = report.mean;
    line["improved"] = report.improved;
    line["immigrants"] = report.immigrants;
    line["seconds"] = {{"switch", report.seconds.switching},
                       {"training", report.seconds.training},
                       {"layers", report.seconds.layers},
                       {"head", report.seconds.head},
                       {"wait", report.wait_seconds}};
    line["elapsed"] = elapsed();
    lines.push_back(std::move(line));
  }
  folder_.append_metrics(lines);
  folder_.append_migrations(population, migrations);
  folder_.save({setup_.identity, population, elapsed()});
  if (take_checkpoint_request())
    log_info("generation {} is saved, as asked for by SIGUSR1", population.generation);
  progress_.advance(1, fmt::format("best {:.5g}", best));
}

void Recorder::comparison(const Population& population, const Comparison& comparison) {
  const std::size_t best = comparison.best();
  const Assignment& winner = population.islands[best].elites.front().assignment;
  Json line;
  line["generation"] = population.generation;
  line["comparison"] = comparison.fitness;
  line["best_island"] = best;
  line["fitness"] = comparison.fitness[best];
  std::string said;
  for (std::size_t set = 0; set < setup_.eval_sets.size(); ++set) {
    double nll = 0, tokens = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (parts_[i].set != set) continue;
      const auto predicted = static_cast<double>(parts_[i].draw.predicted());
      nll += comparison.extra[i] * predicted;
      tokens += predicted;
    }
    const std::string name = options_.eval_data[set].string();
    line["perplexity"][name] = std::exp(nll / tokens);
    said += fmt::format(", perplexity {:.4f} on {}", std::exp(nll / tokens), name);
  }
  folder_.append_metrics({line});
  const std::int64_t parameters = setup_.space.parameters(winner);
  const std::int64_t dense = setup_.space.fixed_parameters + setup_.space.dense_parameters();
  std::int64_t evaluations = 0;
  for (const IslandState& island : population.islands) evaluations += island.evaluations;
  log_info("generation {}: best fitness {:.6g} on {} tokens, island {}, {} of {} parameters{}",
           population.generation, comparison.fitness[best], count(setup_.evolution.compare_tokens), best,
           count(parameters), count(dense), said);

  Json& manifest = manifest_;
  manifest["tool_version"] = version_with_revision();
  manifest["command"] = "search";
  manifest["started"] = started_;
  manifest["ranks"] = ranks_;
  manifest["shards"] = options_.shards;
  manifest["islands"] = setup_.evolution.islands;
  manifest["seed"] = setup_.evolution.seed;
  manifest["strategy"] = setup_.evolution.strategy == Strategy::random ? "random" : "evolution";
  manifest["options"] = Json::parse(setup_.identity);
  manifest["model"] = options_.model.string();
  manifest["database"] = options_.database.string();
  manifest["generations"] = population.generation;
  manifest["evaluations"] = evaluations;
  manifest["seconds"] = elapsed();
  manifest["best"] = {{"fitness", comparison.fitness[best]},
                      {"island", best},
                      {"parameters", parameters},
                      {"dense_parameters", dense}};
  folder_.write_best(to_text(setup_.space, winner));
  folder_.write_manifest(manifest);
}

void Recorder::finish(const Json& phases) {
  manifest_["phases"] = phases;
  folder_.write_manifest(manifest_);
}

/// Collective. The checkpoint to go on from, or a new run's first.
SearchCheckpoint open_folder(const Communicator& comm, const RunFolder& folder, const Setup& setup,
                             const SearchOptions& options) {
  SearchCheckpoint start;
  std::int64_t generation = 0;
  agree_at_root(comm, [&] {
    if (options.resume) {
      start = folder.resume(setup.space, setup.identity, setup.evolution.islands);
      folder.rewind(start.population.generation);
      log_info("going on after generation {}", start.population.generation);
    } else {
      folder.begin(options.config_ini);
      start = {setup.identity, initial_population(setup.space, *setup.budget, setup.evolution), 0};
      folder.write_uniform(to_text(setup.space, setup.budget->uniform(setup.space)));
      folder.save(start);
    }
    generation = start.population.generation;
  });
  std::vector<std::byte> records;
  if (comm.is_root()) records = pack(start.population);
  comm.broadcast(records);
  start.population =
      unpack(records, setup.space.modules.size(), static_cast<std::size_t>(setup.evolution.islands));
  start.population.generation = comm.broadcast_value(generation);
  return start;
}

}  // namespace

Budget make_budget(const SearchSpace& space, const SearchOptions& options) {
  const int given = (options.target_level ? 1 : 0) + (options.target_parameters ? 1 : 0) +
                    (options.target_sparsity ? 1 : 0);
  if (given != 1) {
    throw UsageError(fmt::format("{} targets", given), "galapagos search",
                     "give one of --target-level, --target-params and --target-sparsity");
  }
  if (options.target_level) return Budget::of_level(space, *options.target_level);
  if (options.target_parameters) return Budget::of_parameters(space, *options.target_parameters);
  const double sparsity = *options.target_sparsity;
  if (!(sparsity > 0 && sparsity <= 1)) {
    throw UsageError(fmt::format("a sparsity of {:g}", sparsity), "--target-sparsity",
                     "give a share above 0 and up to 1, as 0.5");
  }
  const double kept = std::min((1 - sparsity) * static_cast<double>(space.dense_parameters()),
                               static_cast<double>(space.dense_parameters() - 1));
  try {
    return Budget::of_parameters(space, space.fixed_parameters + std::llround(kept));
  } catch (const UsageError&) {
    const double most =
        1 - static_cast<double>(space.smallest_parameters()) / static_cast<double>(space.dense_parameters());
    throw UsageError(fmt::format("a sparsity of {:g}, but this database goes to {:.4f}", sparsity, most),
                     "--target-sparsity", "choose a smaller one");
  }
}

void run_search(const Communicator& world, const ops::Context& context, const SearchOptions& options) {
  const Communicator comm = world.duplicate();
  agree(comm, [&] { check_shards(comm.size(), options.shards); });
  const ReplicaGrid grid(comm, options.shards);
  watch_signals();
  const Stopwatch watch;
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const RunFolder folder(options.output);
  agree_at_root(comm, [&] { folder.check(options.resume); });  // before the work that comes first
  Setup setup = make_setup(comm, options);
  const SearchExtent extent{setup.precision,
                            setup.database->header().dtype,
                            options.batch_tokens,
                            setup.longest,
                            setup.budget->most_parameters(setup.space),
                            grid.replicas()};
  const SpacePart part =
      agree_on(comm, [&] { return part_of_space(setup.space, setup.config, grid.shard(), grid.shards()); });
  const SearchFootprint footprint =
      search_footprint(setup.space, part, setup.evolution, options.fitness, options.tuning, extent);
  const Communicator node = comm.split_node();
  const std::size_t answer_bytes = options.fitness.kind == FitnessKind::ppl
                                       ? 0
                                       : setup.pools.compared.tokens.size() *
                                             static_cast<std::size_t>(setup.config.hidden_size) *
                                             sizeof(float);
  const std::uint64_t usable = memory_per_rank(comm, options.memory_limit, context.device());
  const std::uint64_t limit =
      context.device() == Device::cpu
          ? static_cast<std::uint64_t>(
                comm.min(static_cast<std::int64_t>(beside_answers(usable, answer_bytes, node.size()))))
          : usable;
  const LevelHome home =
      choose_home(comm, node, footprint, options.level_cache, limit, context.device(), answer_bytes);
  const std::int64_t dense = setup.space.fixed_parameters + setup.space.dense_parameters();
  const Assignment uniform = setup.budget->uniform(setup.space);
  log_info("{} modules, {} parameters of {} prunable; the uniform assignment leaves {} of {}",
           setup.space.modules.size(), count(setup.space.dense_parameters()), count(dense),
           count(setup.space.parameters(uniform)), count(dense));
  log_info("{} islands on {}, {} generations of {} offspring; pool of {} calibration tokens",
           setup.evolution.islands,
           grid.shards() == 1 ? fmt::format("{} ranks", comm.size())
                              : fmt::format("{} replicas of {} shards", grid.replicas(), grid.shards()),
           setup.evolution.generations, setup.evolution.offspring,
           count(static_cast<std::int64_t>(setup.pools.compared.tokens.size())));
  if (const FineTuning& tuning = options.tuning;
      comm.is_root() && !trains(setup.evolution) &&
      (!options.training_data.empty() || tuning.options.recompute || tuning.unmasked)) {
    log_warning("options of the fine-tuning are given, but without --training-tokens nothing is fine-tuned");
  }
  if (options.dry_run) return;

  SearchCheckpoint start = open_folder(comm, folder, setup, options);
  const LevelStore store(comm, *setup.database, setup.space, home);
  const Shards shards = make_shards(grid, options.make_collectives, setup.config.vocab_size);
  std::optional<Replica> replica;
  agree(comm, [&] {
    replica.emplace(context, *setup.checkpoint, setup.config, setup.space, store, setup.precision,
                    options.batch_tokens, setup.longest, cache_limit(footprint, home, limit), shards);
  });
  const std::function<std::optional<std::string>()> interrupted = [&]() -> std::optional<std::string> {
    if (stop_requested()) return "a signal";
    if (options.max_seconds > 0 && watch.seconds() > options.max_seconds) return "--max-walltime";
    return std::nullopt;
  };
  phase.emplace(&times, "evaluating the unpruned model");
  NodeBuffer buffer;
  if (answer_bytes > 0) {
    buffer = compute_answers(comm, node, grid, shards, setup.pools.compared, setup.config.hidden_size,
                             *replica, options.batch_tokens, interrupted);
  }
  const DenseAnswers answers{reinterpret_cast<const float*>(buffer.bytes().data()),
                             buffer.bytes().size() / sizeof(float)};
  phase.reset();
  const double sums_before = shards.seconds();

  const std::vector<EvalPart> parts = cut_eval_data(setup.eval_sets, options.batch_tokens);
  Followers::Work work;
  work.fitness = [&](const Assignment& base, std::span<const Assignment> candidates,
                     const StageTokens& tokens, const std::function<bool()>& stop) {
    if (tokens.training.tokens.empty()) {
      return replica->fitness(options.fitness, base, candidates, setup.pools.compared, tokens.compared,
                              answers, stop);
    }
    return replica->tuned_fitness(options.fitness, options.tuning, candidates, tokens.training,
                                  setup.pools.compared, tokens.compared, answers, stop);
  };
  work.extra = [&](const Assignment& assignment, std::size_t item) {
    const EvalPart& piece = parts[item];
    return replica
        ->fitness({FitnessKind::nll, 0}, assignment, std::span(&assignment, 1), setup.eval_sets[piece.set],
                  piece.draw, {}, {})
        ->front();
  };
  Followers followers(grid.of_replica(), work);
  std::optional<Recorder> recorder;
  if (comm.is_root()) recorder.emplace(folder, setup, options, comm.size(), parts, start);
  const std::function<std::optional<std::string>()> any_interrupted = [&] {
    auto reason = interrupted();
    if (!reason && followers.asked_to_stop()) reason = "a signal";
    return reason;
  };
  const auto lead = [&] {
    const Followers::Work led = followers.led();
    Evaluator evaluator;
    evaluator.fitness = led.fitness;
    evaluator.extra = led.extra;
    evaluator.extra_items = parts.size();
    evaluator.seconds = [&] { return replica->seconds(); };
    Observer observer;
    observer.generation = [&](const Population& population, std::span<const Migration> migrations) {
      recorder->generation(population, migrations);
    };
    observer.comparison = [&](const Population& population, const Comparison& comparison) {
      recorder->comparison(population, comparison);
    };
    evolve(grid.same_shard(), setup.space, *setup.budget, setup.evolution, setup.pools,
           std::move(start.population), evaluator, observer, any_interrupted, &times);
  };
  const auto report = [&] {
    times.move("evaluating", "fine-tuning", replica->seconds().training);
    times.move("evaluating", "building levels", replica->seconds().switching);
    times.move("evaluating", "communicating", shards.seconds() - sums_before);
    return report_phases(comm, times);
  };
  std::exception_ptr failure;
  try {
    if (shards.is_root()) {
      lead();
    } else {
      followers.follow(times, stop_requested);
    }
  } catch (const Error& error) {
    if (!error.agreed()) throw;  // ends all ranks
    failure = std::current_exception();
  }
  if (shards.is_root()) followers.end();
  try {
    // Leaders have agreed among themselves, the shards of each replica likewise; now all do.
    agree(comm, [&] {
      if (failure) std::rethrow_exception(failure);
    });
  } catch (const Error& error) {
    if (error.code() == ExitCode::stopped_early) report();  // so it is on all ranks
    throw;
  }
  const Json phases = report();
  agree_at_root(comm, [&] { recorder->finish(phases); });
}

}  // namespace galapagos
