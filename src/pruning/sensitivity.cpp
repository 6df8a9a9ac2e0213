#include "gradient_collector.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/pruning/sensitivity_forecast.hpp>
#include <galapagos/pruning/sketch.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr int sum_tag = 22;
constexpr std::size_t values_per_message = 1 << 26;

/// How the ranks are dealt: to stages and lanes, or to shards and, as lanes, the replicas that they form.
struct Dealing {
  PipelineGrid grid;
  int shards = 1;

  /// With the first order, what each shard has of the unpruned model.
  std::vector<ModelPart> dense = {};

  bool member(int rank) const { return rank < grid.stages() * grid.lanes * shards; }
  /// Of stages and lanes.
  int rank_in_grid(int rank) const { return rank / shards; }
  int lane_of(int rank) const { return grid.lane_of(rank_in_grid(rank)); }
  /// The rank of a lane that gathers a module's gradients: with shards they take turns.
  int holder(int lane, std::size_t index, const ModuleId& module) const {
    return grid.rank_of(lane, grid.stage_of_layer(module.layer)) * shards +
           static_cast<int>(index % static_cast<std::size_t>(shards));
  }
  /// The holder that adds up what those of all lanes have.
  int owner(std::size_t index, const ModuleId& module) const {
    return holder(
        static_cast<int>(index / static_cast<std::size_t>(shards) % static_cast<std::size_t>(grid.lanes)),
        index, module);
  }
};

/// A rank that has some of a module's numbers, from `first` on.
struct Contribution {
  int rank = 0;
  std::size_t first = 0, count = 0;
};

struct Setup {
  SensitivityOptions options;  ///< as they were asked for
  SensitivityHeader header;
  TokenSet calibration;
  std::vector<NumberedBatch> batches;
  std::vector<ModuleId> modules;
  GradientGathering how;
  SensitivityForecast forecast;
  Dealing dealing;
  std::size_t batches_done = 0;  // in earlier runs
};

void look_for_output(const SensitivityOptions& options) {
  const fs::path part = part_path(options.output);
  if (fs::exists(options.output)) {
    if (options.resume && fs::exists(part)) return;
    throw InputError("the file exists already", options.output.string(),
                     fs::exists(part)
                         ? "remove it and the unfinished " + part.string() + ", or choose another --output"
                         : "remove it or choose another --output");
  }
  if (!options.resume && fs::exists(part)) {
    throw InputError("an unfinished run is there", part.string(), "go on with --resume, or remove it");
  }
  if (options.resume && !fs::exists(part)) {
    throw InputError("there is no unfinished run to go on with", part.string(), "leave --resume out");
  }
}

Setup make_setup(const Communicator& comm, const ops::Context& context, const SensitivityOptions& options,
                 const SensitivityModel& model) {
  Setup setup;
  setup.options = options;
  SensitivityHeader& header = setup.header;
  agree(comm, [&] {
    check_options(options);
    header.tool_version = version_with_revision();
    header.config = model.config;
    header.model_fingerprint = model.fingerprint;
    header.assignment_fingerprint = model.assignment_fingerprint;
    header.sequence_length = checked_sequence_length(options.sequence_length, model.config);
    header.precision = model.precision;
    header.samples = options.samples;
    header.seed = static_cast<std::int64_t>(options.seed);
    header.form = options.form;
    header.rank = options.rank;
    if (options.divergence) header.kept = model.kept;
    header.batch_tokens = options.batch_tokens;
    if (options.lanes > comm.size()) {
      throw UsageError(fmt::format("{} lanes do not fit {} ranks", options.lanes, comm.size()), "--lanes",
                       "use at most one lane per rank");
    }
    setup.modules = header.modules();
    if (options.rank > header.config.hidden_size) {
      throw UsageError(
          fmt::format("a rank of {} with a hidden size of {}", options.rank, header.config.hidden_size),
          "--rank", "give at most that");
    }
  });
  agree_at_root(comm, [&] {
    look_for_output(options);
    header.created = utc_now();
  });
  header.created = comm.broadcast_string(header.created);
  setup.how.form = options.form;
  setup.how.rank = options.rank;
  setup.how.samples = options.samples;
  setup.how.seed = options.seed;
  if (options.dry_run) {
    header.calibration_tokens = options.calibration_tokens;
    setup.how.most_tokens = std::max(options.batch_tokens, header.sequence_length);
  } else {
    setup.calibration = load_model_sequences(
        comm, options.calibration, options.model, model.config,
        {header.sequence_length, options.calibration_tokens, options.add_bos, options.fewer_tokens});
    header.calibration_tokens = static_cast<std::int64_t>(setup.calibration.tokens.size());
    header.calibration_fingerprint = hex64(setup.calibration.fingerprint());
    std::uint64_t first = 0;
    for (Batch& batch :
         make_batches(setup.calibration.tokens, setup.calibration.offsets, options.batch_tokens)) {
      const std::uint64_t tokens = batch.tokens.size();
      setup.how.most_tokens = std::max(setup.how.most_tokens, static_cast<std::int64_t>(tokens));
      setup.batches.push_back({std::move(batch), first});
      first += tokens;
    }
  }
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  agree(comm, [&] {
    check_shards(comm.size(), options.shards);
    SensitivityExtent extent = {header.calibration_tokens, setup.how.most_tokens, header.sequence_length,
                                context.device(), context.activations()};
    if (options.divergence) extent.dense = model.config;
    setup.forecast =
        forecast_sensitivity(options, model.source(0, 1).config, model.precision, extent, comm.size(), limit);
    if (setup.forecast.grid.stages() > 1) check_message(setup.how.most_tokens, model.config.hidden_size);
    if (!setup.forecast.too_small.empty()) {
      throw ResourceError(setup.forecast.too_small, "memory",
                          "use more ranks, --shards, a smaller --batch-tokens, or raise --memory-limit");
    }
    setup.how.recompute = setup.forecast.recompute;
    setup.dealing = {setup.forecast.grid, options.shards};
    for (int shard = 0; options.divergence && shard < options.shards; ++shard)
      setup.dealing.dense.push_back(part_of_model(model.config, shard, options.shards));
  });
  return setup;
}

void log_setup(const Setup& setup) {
  const SensitivityOptions& options = setup.options;
  const Dealing& dealing = setup.dealing;
  log_info("sensitivities of {} modules, {}; {} tokens of context, {} ids drawn for each{}",
           setup.modules.size(), setup.header.form_text(),
           human_count(static_cast<std::uint64_t>(setup.header.calibration_tokens)), options.samples,
           options.divergence ? "; and the first order of the divergence" : "");
  log_info("{}; memory per rank up to {}{}",
           dealing.shards > 1
               ? fmt::format("{} replicas of {} shards", dealing.grid.lanes, dealing.shards)
               : fmt::format("{} stages x {} lanes", dealing.grid.stages(), dealing.grid.lanes),
           human_bytes(setup.forecast.bytes),
           setup.how.recompute ? ", layers computed again on the way back" : "");
}

/// Calls work for pieces that fit a message.
void for_pieces(std::vector<float>& values, const std::function<void(std::span<float>)>& work) {
  for (std::size_t at = 0; at < values.size(); at += values_per_message)
    work(std::span(values).subspan(at, std::min(values_per_message, values.size() - at)));
}

/// To be called on all ranks. Adds what the contributors have, in their order, to the owner's total.
void add_at_owner(const Communicator& comm, std::span<const Contribution> contributions, int owner,
                  std::vector<float> own, std::vector<float>& total) {
  std::vector<float> theirs;
  for (const Contribution& one : contributions) {
    if (one.rank == comm.rank() && one.rank != owner)
      for_pieces(own,
                 [&](std::span<float> piece) { comm.send(std::span<const float>(piece), owner, sum_tag); });
    if (comm.rank() != owner) continue;
    if (one.rank != owner) {
      theirs.resize(one.count);
      for_pieces(theirs, [&](std::span<float> piece) { comm.receive(piece, one.rank, sum_tag); });
    }
    const std::vector<float>& added = one.rank == owner ? own : theirs;
    for (std::size_t v = 0; v < one.count; ++v) total[one.first + v] += added[v];
  }
}

/// Where the numbers of a module's first order lie: each shard has the rows of its columns.
std::vector<Contribution> first_order_parts(const Setup& setup, const ModuleId& module) {
  const Dealing& dealing = setup.dealing;
  const HfConfig& config = setup.header.config;
  std::vector<Contribution> parts;
  for (int lane = 0; lane < dealing.grid.lanes; ++lane) {
    for (int shard = 0; shard < dealing.shards; ++shard) {
      const LayerPart& part =
          dealing.dense[static_cast<std::size_t>(shard)].layers[static_cast<std::size_t>(module.layer)];
      const bool attention = module.kind == ModuleKind::attention;
      const Range& range = attention ? part.heads : part.columns;
      const std::int64_t size = config.hidden_size * (attention ? config.head_dim : 1);
      parts.push_back(
          {dealing.grid.rank_of(lane, dealing.grid.stage_of_layer(module.layer)) * dealing.shards + shard,
           static_cast<std::size_t>(range.first * size), static_cast<std::size_t>(range.count() * size)});
    }
  }
  return parts;
}

/// Collective. Adds what the lanes have gathered to the owners' totals, in the order of the lanes, and
/// empties the sums.
void add_to_totals(const Communicator& comm, const Setup& setup, const GradientCollector* collector,
                   Sensitivities& totals) {
  const Dealing& dealing = setup.dealing;
  for (std::size_t i = 0; i < setup.modules.size(); ++i) {
    const ModuleId& module = setup.modules[i];
    const int owner = dealing.owner(i, module);
    ModuleSensitivity nobody;
    ModuleSensitivity& total = comm.rank() == owner ? totals[module] : nobody;
    if (comm.rank() == owner) total.curvature.resize(setup.header.values(), 0.0f);
    std::vector<Contribution> holders;
    for (int lane = 0; lane < dealing.grid.lanes; ++lane)
      holders.push_back({dealing.holder(lane, i, module), 0, setup.header.values()});
    std::vector<float> own;
    if (collector != nullptr && collector->sums().count(module) > 0)
      own = collector->sums().at(module).take();
    add_at_owner(comm, holders, owner, std::move(own), total.curvature);
    if (!setup.header.has_first_order()) continue;
    if (comm.rank() == owner) total.first_order.resize(setup.header.weight_values(module), 0.0f);
    own.clear();
    if (collector != nullptr && collector->first_orders().count(module) > 0) {
      const OwnedTensor& sum = collector->first_orders().at(module);
      const OwnedTensor on_host = copy_of(sum, Device::cpu, "a module's first order");
      own.assign(on_host->floats(), on_host->floats() + on_host->elements());
      fill_zero(sum);
    }
    add_at_owner(comm, first_order_parts(setup, module), owner, std::move(own), total.first_order);
  }
}

/// NumericalError where a value is none.
void divide(std::vector<float>& values, double count, const ModuleId& module) {
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(value) / count);
    if (std::isfinite(value)) continue;
    throw NumericalError("the sensitivity is NaN or infinite", name_of(module),
                         "check the checkpoint, or use --precision fp32");
  }
}

/// Sums become what a complete file has: means over tokens, and samples.
void finish(const Setup& setup, const SensitivityModel& model, Sensitivities& totals) {
  const SensitivityHeader& header = setup.header;
  const auto tokens = static_cast<double>(header.calibration_tokens);
  OwnedTensor directions;
  if (header.form == SensitivityForm::lowrank)
    directions = sketch_matrix(setup.how.seed, header.rank, header.config.hidden_size);
  for (auto& [module, total] : totals) {
    divide(total.curvature, tokens * static_cast<double>(header.samples), module);
    divide(total.first_order, tokens, module);
    if (header.form == SensitivityForm::lowrank) finish_sketch(directions, total.curvature, name_of(module));
    if (header.has_first_order()) total.in_place = model.in_place(module);
  }
}

/// Collective. Whether the run was complete but for the removal of its sums, which is made up for.
bool ended_before(const Communicator& comm, const Setup& setup) {
  const SensitivityOptions& options = setup.options;
  bool ended = false;
  agree_at_root(comm, [&] {
    ended = options.resume && fs::exists(options.output);
    if (!ended) return;
    check_same_sensitivity(SensitivityReader(options.output).header(), setup.header, options.output.string());
    fs::remove(part_path(options.output));
    log_info("{} is complete, nothing to do", options.output.string());
  });
  return comm.broadcast_value<char>(ended ? 1 : 0) != 0;
}

void resume(const Communicator& comm, const fs::path& part, Setup& setup, Sensitivities& totals) {
  agree(comm, [&] {
    const SensitivityReader reader(part, true);
    check_same_sensitivity(reader.header(), setup.header, part.string());
    setup.batches_done = static_cast<std::size_t>(reader.batches_done());
    if (setup.batches_done > setup.batches.size())
      throw InputError("more batches are done than there are", part.string(), "remove it and begin anew");
    for (std::size_t i = 0; i < setup.modules.size(); ++i) {
      if (comm.rank() != setup.dealing.owner(i, setup.modules[i])) continue;
      ModuleSensitivity& total = totals[setup.modules[i]];
      total.curvature = reader.values(setup.modules[i]);
      if (setup.header.has_first_order()) total.first_order = reader.first_order(setup.modules[i]);
    }
  });
  log_info("going on after {} of {} batches", setup.batches_done, setup.batches.size());
}

}  // namespace

void measure_sensitivities(const Communicator& world, const ops::Context& context,
                           const SensitivityOptions& asked, const SensitivityModel& model) {
  const Communicator comm = world.duplicate();
  watch_signals();
  const Stopwatch watch;
  const StopRule rule(asked.max_seconds);
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  Setup setup = make_setup(comm, context, asked, model);
  const SensitivityOptions& options = setup.options;
  log_setup(setup);
  if (options.dry_run || ended_before(comm, setup)) return;
  const fs::path part = part_path(options.output);
  // Sums that are saved lie beside those that they replace, and the result beside the last ones.
  agree_at_root(comm, [&] { check_room(setup.header, part, options.resume ? 1 : 2); });
  Sensitivities totals;
  if (options.resume) resume(comm, part, setup, totals);

  const Dealing& dealing = setup.dealing;
  const ReplicaGrid replicas(comm, options.shards);
  const Shards shards = make_shards(replicas, options.make_collectives, model.config.vocab_size);
  std::vector<ModuleId> mine;
  for (std::size_t i = 0; i < setup.modules.size(); ++i) {
    if (!dealing.member(comm.rank())) break;
    if (comm.rank() == dealing.holder(dealing.lane_of(comm.rank()), i, setup.modules[i]))
      mine.push_back(setup.modules[i]);
  }
  std::optional<GradientCollector> collector;
  agree(comm, [&] {
    if (!dealing.member(comm.rank())) return;
    std::optional<ModelSource> dense;
    if (options.divergence) dense = model.dense(replicas.shard(), options.shards);
    collector.emplace(context, comm, model.source(replicas.shard(), options.shards),
                      dense ? &*dense : nullptr, mine, dealing.grid, dealing.rank_in_grid(comm.rank()),
                      shards, setup.how);
  });
  phase.reset();
  std::size_t unsaved = 0;  // tokens
  for (std::size_t done = setup.batches_done; done < setup.batches.size();) {
    const std::size_t end =
        std::min(done + static_cast<std::size_t>(setup.forecast.window), setup.batches.size());
    std::vector<NumberedBatch> of_lane;
    for (std::size_t b = done; b < end; ++b) {
      const auto lane = static_cast<int>(b % static_cast<std::size_t>(dealing.grid.lanes));
      if (collector && lane == dealing.lane_of(comm.rank())) of_lane.push_back(setup.batches[b]);
    }
    for (const bool up : {true, false}) {
      phase.emplace(&times, "collecting gradients");
      FailureBoard board(comm);
      if (collector && up) collector->go_up(of_lane, board);
      if (collector && !up) collector->go_down(board);
      phase.emplace(&times, "waiting");
      board.settle();
    }
    phase.emplace(&times, "communicating");
    add_to_totals(comm, setup, collector ? &*collector : nullptr, totals);
    for (std::size_t b = done; b < end; ++b) unsaved += setup.batches[b].batch.tokens.size();
    done = end;
    phase.emplace(&times, "writing");
    if (done == setup.batches.size()) break;
    const bool stop = comm.any(rule.holds());
    if (!stop && unsaved < static_cast<std::size_t>(options.checkpoint_tokens)) continue;
    write_sensitivities(comm, part, setup.header, static_cast<std::int64_t>(done), totals);
    unsaved = 0;
    if (!stop) continue;
    phase.reset();
    report_run(comm, times);
    agree(comm, [&] {
      throw StoppedEarly(fmt::format("stopped after {} of {} batches", done, setup.batches.size()),
                         options.output.string(), "go on with --resume");
    });
  }
  agree(comm, [&] { finish(setup, model, totals); });
  write_sensitivities(comm, options.output, setup.header, 0, totals);
  agree_at_root(comm, [&] { fs::remove(part); });
  log_info("{} is complete: {} modules in {}", options.output.string(), setup.modules.size(),
           human_duration(watch.seconds()));
  phase.reset();
  report_run(comm, times);
}

}  // namespace galapagos
