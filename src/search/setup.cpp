#include "setup.hpp"

#include "streams.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/search/footprint.hpp>

namespace galapagos {
namespace {

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

/// The files that decide what a candidate loses.
Json identity_of_files(const SearchSetup& setup, const std::string& model_fingerprint) {
  Hash64 orders;
  for (const ModuleChoices& module : setup.space.every_module().modules) {
    for (std::size_t level = 0; level < module.kept.size(); ++level)
      orders.add(std::as_bytes(std::span<const std::int64_t>(module.kept[level])));
  }
  Json json;
  json["model"] = model_fingerprint;
  json["database"] = hex64(orders.value());
  const DatabaseHeader& header = setup.database->header();
  json["database-calibration"] = header.calibration_fingerprint;
  json["database-rel-damp"] = header.relative_damping;
  json["database-precision"] = name_of(header.precision);
  if (!header.path.empty()) json["database-path"] = header.path;
  if (!header.compensation.empty()) json["database-compensate"] = header.compensation;
  json["calibration"] = hex64(setup.pools.compared.fingerprint());
  return json;
}

/// What decides the result of a measurement in a race.
Json measured_by(const SearchSetup& setup, const std::string& model_fingerprint) {
  Json json = identity_of_files(setup, model_fingerprint);
  const SearchOptions& options = setup.options;
  json["fitness"] = name_of(options.fitness.kind);
  if (options.fitness.kind == FitnessKind::sparse_kl) json["kl-topk"] = options.fitness.top_k;
  json["precision"] = name_of(setup.precision);
  json["block-tokens"] = options.evolution.racing.tokens;
  json["held-back"] = options.evolution.racing.held_back;
  // Levels are of other modules then.
  if (options.target.experts != ExpertTie::free) json["experts"] = deciding(options).at("experts");
  return json;
}

/// What decides the course of a search; --resume compares it.
std::string identity_of(const SearchSetup& setup, const std::string& model_fingerprint) {
  const EvolutionOptions& evolution = setup.options.evolution;
  Json json = identity_of_files(setup, model_fingerprint);  // first: where they differ, a refusal names them
  json.update(deciding(setup.options));
  for (const char* name : {"target-params", "target-sparsity", "target-memory"})
    json.erase(name);  // "parameters" stands for them
  json["latency-times"] = setup.options.target.table_fingerprint;
  if (setup.options.target.by_latency()) json["whole-models"] = setup.whole.timing ? "timed" : "not timed";
  json["parameters"] = setup.options.target.parameters.value_or(-1);
  for (const SelectionStage& stage : evolution.stages) {
    json["survivors"].push_back(stage.survivors);
    json["tokens"].push_back(stage.tokens);
    json["training-tokens"].push_back(stage.training_tokens);
  }
  if (trains(evolution)) json["training-data"] = hex64(setup.pools.training.fingerprint());
  json["topology"] = name_of(evolution.topology.kind);
  json["migration-interval"] = evolution.topology.interval;
  json["migrants"] = evolution.topology.migrants;
  json["matrix"] = evolution.topology.matrix;
  json["start"] = setup.start_name;
  if (evolution.start.kind == StartKind::given) {
    json["start"] = hex64(Hash64().add(std::as_bytes(std::span(evolution.start.given))).value());
  }
  if (setup.space.has_end_losses()) {  // also the record of a search depends on them
    Hash64 losses;
    for (const ModuleChoices& module : setup.space.modules) {
      losses.add(std::as_bytes(std::span(module.end_loss)));
    }
    json["end-losses"] = hex64(losses.value());
  }
  json["compare-tokens"] = evolution.compare_tokens;
  for (const TokenSet& set : setup.eval_sets) json["eval-data"].push_back(hex64(set.fingerprint()));
  json["precision"] = name_of(setup.precision);
  if (setup.choices.count() > 0) json["choices"] = hex64(setup.choices.fingerprint());
  if (!setup.archive.fingerprint.empty()) json["archive"] = setup.archive.fingerprint;
  return json.dump();
}

/// Where the islands begin. UsageError where the strategy does not go with that.
Start start_for(const SearchSetup& setup) {
  const SearchOptions& options = setup.options;
  const StrategyKind strategy = setup.options.evolution.strategy;
  const bool asked = options.start != "auto";
  if (strategy == StrategyKind::random) {
    if (!asked) return {};
    throw UsageError("the random strategy begins with random assignments", "--start", "leave it out");
  }
  if (options.start == name_of(StartKind::gradient) && setup.config.features.post_norms) {
    throw UsageError(
        "levels of a model that norms what a layer's parts put out cannot be learned: what is "
        "left of a weight counts as much as all of it",
        "--start gradient", "give another start");
  }
  const bool by_name = options.start == "auto" || options.start == "uniform" ||
                       options.start == "sensitivity" || options.start == name_of(StartKind::gradient);
  if (setup.budgets.size() > 1 && !by_name)
    throw UsageError("a start of one size for several", "--start", "leave it out, or give gradient");
  const bool timed = setup.whole.timing && !options.dry_run;  // which says whether a start meets the target
  if (timed && !by_name && strategy != StrategyKind::sensitivity)
    return {StartKind::given, read_assignment(setup.space, options.start)};
  if (strategy != StrategyKind::sensitivity)
    return make_start(setup.space, setup.budgets.front(), options.start);
  if (options.start == name_of(StartKind::gradient))
    return make_start(setup.space, setup.budgets.front(), options.start);
  if (asked && options.start != "sensitivity") {
    throw UsageError("the strategy sensitivity compares starts by sensitivity or by gradient alone",
                     "--start", "give gradient, or leave it out");
  }
  return make_start(setup.space, setup.budgets.front(), "sensitivity");
}

/// UsageError where the surrogate has nothing to propose from, or too much is asked of it.
void check_proposals(const SearchSetup& setup) {
  const EvolutionOptions& evolution = setup.options.evolution;
  if (evolution.proposals == 0) return;
  if (evolution.proposals > evolution.offspring) {
    throw UsageError(fmt::format("{} proposals of {} offspring", evolution.proposals, evolution.offspring),
                     "--proposals", "give at most as many as --offspring");
  }
  if (evolution.strategy != StrategyKind::evolution) {
    throw UsageError("proposals are for the strategy evolution", "--proposals", "leave it out");
  }
  if (!setup.space.has_end_losses()) {
    throw UsageError("the database has no end losses to propose by", "--proposals",
                     "make it with 'galapagos database --sensitivity', or leave --proposals out");
  }
}

/// Whether any token has another before it.
bool predicts(const TokenSet& set) {
  return set.tokens.size() > set.sequences();
}

void check_stages(SearchSetup& setup) {
  const auto pool = static_cast<std::int64_t>(setup.pools.compared.tokens.size());
  if (!predicts(setup.pools.compared) ||
      !std::all_of(setup.eval_sets.begin(), setup.eval_sets.end(), predicts)) {
    throw InputError("only sequences of one token, which predict nothing", "--calibration, --eval-data",
                     "give longer texts or a greater --sequence-length");
  }
  const bool races = setup.options.evolution.strategy == StrategyKind::racing;  // which cut_pool() checks
  for (const SelectionStage& stage : setup.options.evolution.stages) {
    if (stage.tokens > pool && !races) {
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
  if (const EvolutionOptions& evolution = setup.options.evolution;
      evolution.start.kind == StartKind::gradient && evolution.relaxation.tokens > pool) {
    throw UsageError(
        fmt::format("{} tokens in a step of learning levels, but there are {} calibration tokens",
                    count(evolution.relaxation.tokens), count(pool)),
        "--gradient-tokens", "give more calibration data, or fewer tokens");
  }
  if (const std::int64_t compared = setup.options.evolution.compare_tokens; compared > pool && !races) {
    throw UsageError(fmt::format("{} tokens to compare the islands on, but there are {} calibration tokens",
                                 count(compared), count(pool)),
                     "--compare-tokens", "give more calibration data, or fewer tokens");
  }
  setup.options.evolution.compare_tokens = compare_tokens(setup.options.evolution, pool);
}

/// What racing makes of the pool; the end is then chosen on what is held back. Another race's archive says
/// how it is cut.
void cut_pool(SearchSetup& setup, const Json& measured, const std::string& archive) {
  EvolutionOptions& evolution = setup.options.evolution;
  const std::string path = setup.options.archive.string();
  const std::uint64_t seed = path.empty() ? evolution.seed : blocks_seed_of(archive, measured, path);
  setup.blocks = cut_blocks(setup.pools.compared, evolution.racing.tokens, evolution.racing.held_back,
                            stream(seed, 0, 0, 0, Draw::blocks));
  setup.pools.held_back = setup.blocks.held_back.sequences;
  const TokenSet& pool = setup.pools.compared;
  auto left = std::ssize(pool.tokens);
  for (const std::uint32_t sequence : setup.pools.held_back) left -= std::ssize(pool.sequence(sequence));
  if (evolution.start.kind == StartKind::gradient && evolution.relaxation.tokens > left) {
    throw UsageError(fmt::format("{} tokens in a step of learning levels, but {} are left of the calibration "
                                 "tokens beside those held back",
                                 count(evolution.relaxation.tokens), count(left)),
                     "--gradient-tokens", "give more calibration data, or fewer tokens");
  }
  if (!setup.pools.held_back.empty()) evolution.compare_tokens = std::ssize(setup.blocks.held_back.tokens);
  setup.archive.header = archive_header(measured, seed);
  if (path.empty()) return;
  setup.archive.known = known_trials(archive, setup.space, setup.blocks.raced, path);
  setup.archive.fingerprint = fingerprint_of(setup.archive.known, seed);
}

}  // namespace

SearchSetup make_setup(const Communicator& comm, const SearchOptions& asked, const ops::Context& context) {
  SearchSetup setup;
  setup.options = asked;
  SearchOptions& options = setup.options;
  agree(comm, [&] {
    check_options(options);
    setup.config = read_hf_config(options.model);
    setup.checkpoint.emplace(options.model);
    setup.database.emplace(options.database);
    setup.precision =
        ops::working_type(context.device(), options.precision.value_or(setup.checkpoint->dtype()));
  });
  std::string fingerprint;
  agree_at_root(comm, [&] { fingerprint = hex64(setup.checkpoint->fingerprint()); });
  fingerprint = comm.broadcast_string(fingerprint);
  setup.space = load_space(comm, *setup.database, setup.config, fingerprint);
  agree(comm, [&] { restrict_to(options.target, setup.space); });
  std::string device;
  if (options.target.by_latency()) agree_at_root(comm, [&] { device = device_text(context); });
  device = comm.broadcast_string(device);
  SequenceRequest request;
  agree(comm, [&] {
    check_mixture(options, setup.config);
    options.target = resolved(setup.space, options.target);
    setup.whole = choose_timing(options, setup.config, setup.precision, device);
    // What whole models take says what can be met, once that is known.
    const bool later = setup.whole.timing && !options.dry_run;
    setup.budgets.push_back(later ? Budget({}) : make_budget(setup.space, options.target));
    for (std::size_t k = 1; k < options.targets.size(); ++k) {
      SizeTarget target;
      target.sparsity = options.targets[k];
      setup.budgets.push_back(make_budget(setup.space, target));
    }
    options.evolution.start = start_for(setup);
    check_proposals(setup);
    setup.start_name = options.evolution.strategy == StrategyKind::random ? "random"
                       : options.evolution.start.kind == StartKind::given
                           ? options.start
                           : name_of(options.evolution.start.kind);
    request.sequence_length = checked_sequence_length(options.sequence_length, setup.config);
    request.token_budget = options.calibration_tokens;
    request.add_bos = options.add_bos;
    request.text = options.text;
  });
  setup.pools.compared =
      load_model_sequences(comm, options.calibration, options.model, setup.config, request);
  request.token_budget = 0;
  if (trains(options.evolution)) {
    setup.pools.training =
        options.training_data.empty()
            ? setup.pools.compared
            : load_model_sequences(comm, options.training_data, options.model, setup.config, request);
  }
  for (const std::filesystem::path& file : options.eval_data) {
    setup.eval_sets.push_back(load_model_sequences(comm, {file}, options.model, setup.config, request));
  }
  if (!options.choices.empty())
    setup.choices = load_choices(comm, options.choices, options.model, setup.config, options.add_bos);
  std::string archive;
  if (!options.archive.empty()) {
    agree_at_root(comm, [&] { archive = read_known_archive(options.archive, options.output); });
    archive = comm.broadcast_string(archive);
  }
  agree(comm, [&] {
    check_stages(setup);
    if (options.evolution.strategy == StrategyKind::racing)
      cut_pool(setup, measured_by(setup, fingerprint), archive);
  });
  setup.longest = std::max(request.sequence_length, setup.choices.longest());
  setup.identity = identity_of(setup, fingerprint);
  return setup;
}

TokenDraw comparison_draw(const SearchSetup& setup) {
  if (!setup.blocks.held_back.tokens.empty()) return setup.blocks.held_back;
  const EvolutionOptions& evolution = setup.options.evolution;
  return draw_tokens(setup.pools.compared, evolution.compare_tokens,
                     stream(evolution.seed, 0, 0, 0, Draw::comparison));
}

Population first_population(const SearchSetup& setup, const Strategy& strategy) {
  const EvolutionOptions& evolution = setup.options.evolution;
  if (setup.budgets.size() == 1) return initial_population(strategy, evolution.islands);
  Population population;
  const auto sizes = std::ssize(setup.budgets);
  for (std::int64_t island = 0; island < evolution.islands; ++island) {
    IslandState state;
    state.elites.push_back(
        {start_of_island(setup.space, setup.budgets[static_cast<std::size_t>(island % sizes)],
                         evolution.start, evolution.seed, island / sizes),
         0.0});
    population.islands.push_back(std::move(state));
  }
  return population;
}

}  // namespace galapagos
