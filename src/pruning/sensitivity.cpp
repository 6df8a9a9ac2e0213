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
#include <galapagos/pruning/sensitivity_forecast.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr int sum_tag = 22;
constexpr std::size_t values_per_message = 1 << 26;

/// How the ranks are dealt: to stages and lanes, or to shards and, as lanes, the replicas that they form.
struct Dealing {
  PipelineGrid grid;
  int shards = 1;

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

struct Setup {
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
    header.batch_tokens = options.batch_tokens;
    if (options.lanes > comm.size()) {
      throw UsageError(fmt::format("{} lanes do not fit {} ranks", options.lanes, comm.size()), "--lanes",
                       "use at most one lane per rank");
    }
    setup.modules = header.modules();
  });
  agree_at_root(comm, [&] {
    look_for_output(options);
    header.created = utc_now();
  });
  header.created = comm.broadcast_string(header.created);
  setup.how = {options.form, options.samples, options.seed};
  if (options.dry_run) {
    header.calibration_tokens = options.calibration_tokens;
    setup.how.most_tokens = std::max(options.batch_tokens, header.sequence_length);
  } else {
    setup.calibration = load_model_sequences(comm, options.calibration, options.model, model.config,
                                             {header.sequence_length, options.calibration_tokens,
                                              options.add_bos, options.fewer_tokens, options.shuffled});
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
    const SensitivityExtent extent = {header.calibration_tokens, setup.how.most_tokens,
                                      header.sequence_length, context.device(), context.activations()};
    setup.forecast =
        forecast_sensitivity(options, model.source(0, 1).config, model.precision, extent, comm.size(), limit);
    if (setup.forecast.grid.stages() > 1) check_message(setup.how.most_tokens, model.config.hidden_size);
    if (!setup.forecast.too_small.empty()) {
      throw ResourceError(setup.forecast.too_small, "memory",
                          "use more ranks, --shards, a smaller --batch-tokens, or raise --memory-limit");
    }
    setup.how.recompute = setup.forecast.recompute;
    setup.dealing = {setup.forecast.grid, options.shards};
  });
  return setup;
}

void log_setup(const SensitivityOptions& options, const Setup& setup) {
  const Dealing& dealing = setup.dealing;
  log_info("sensitivities of {} modules, {}; {} tokens of context, {} ids drawn for each",
           setup.modules.size(), name_of(options.form),
           human_count(static_cast<std::uint64_t>(setup.header.calibration_tokens)), options.samples);
  log_info("{}; memory per rank up to {}{}",
           dealing.shards > 1
               ? fmt::format("{} replicas of {} shards", dealing.grid.lanes, dealing.shards)
               : fmt::format("{} stages x {} lanes", dealing.grid.stages(), dealing.grid.lanes),
           human_bytes(setup.forecast.bytes),
           setup.how.recompute ? ", layers computed again on the way back" : "");
}

/// A module's sums as the file has them, in host memory.
std::vector<float> packed(const Tensor& sums, const SensitivityHeader& header) {
  const OwnedTensor on_host = copy_of(sums, Device::cpu, "a module's sensitivity");
  const std::int64_t n = header.config.hidden_size;
  const float* from = on_host->floats();
  if (header.form == SensitivityForm::diagonal) return {from, from + n};
  std::vector<float> values;
  values.reserve(header.values());
  if (header.form == SensitivityForm::scalar) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(from[i]);
    return {static_cast<float>(sum / static_cast<double>(n))};
  }
  for (std::int64_t row = 0; row < n; ++row)
    values.insert(values.end(), from + row * n, from + row * n + row + 1);
  return values;
}

/// Calls work for pieces that fit a message.
void for_pieces(std::vector<float>& values, const std::function<void(std::span<float>)>& work) {
  for (std::size_t at = 0; at < values.size(); at += values_per_message)
    work(std::span(values).subspan(at, std::min(values_per_message, values.size() - at)));
}

/// Collective. Adds what the lanes have gathered to the owners' totals, in the order of the lanes, and
/// empties the sums.
void add_to_totals(const Communicator& comm, const Setup& setup, GradientCollector* collector,
                   Sensitivities& totals) {
  const Dealing& dealing = setup.dealing;
  for (std::size_t i = 0; i < setup.modules.size(); ++i) {
    const ModuleId& module = setup.modules[i];
    const int owner = dealing.owner(i, module);
    const bool mine =
        dealing.member(comm.rank()) && comm.rank() == dealing.holder(dealing.lane_of(comm.rank()), i, module);
    std::vector<float> values;
    if (mine) {
      const OwnedTensor& sums = collector->sums().at(module);
      values = packed(sums, setup.header);
      fill_zero(sums);
    }
    if (comm.rank() != owner) {
      if (mine)
        for_pieces(values,
                   [&](std::span<float> piece) { comm.send(std::span<const float>(piece), owner, sum_tag); });
      continue;
    }
    std::vector<float>& total = totals[module];
    total.resize(setup.header.values(), 0.0f);
    std::vector<float> theirs(dealing.grid.lanes > 1 ? values.size() : 0);
    for (int lane = 0; lane < dealing.grid.lanes; ++lane) {
      const int holder = dealing.holder(lane, i, module);
      if (holder != owner)
        for_pieces(theirs, [&](std::span<float> piece) { comm.receive(piece, holder, sum_tag); });
      const std::vector<float>& added = holder == owner ? values : theirs;
      for (std::size_t v = 0; v < total.size(); ++v) total[v] += added[v];
    }
  }
}

/// The mean over tokens and samples. NumericalError where a module has none.
void divide(const SensitivityHeader& header, Sensitivities& totals) {
  const double count = static_cast<double>(header.calibration_tokens) * static_cast<double>(header.samples);
  for (auto& [module, values] : totals) {
    for (float& value : values) {
      value = static_cast<float>(static_cast<double>(value) / count);
      if (std::isfinite(value)) continue;
      throw NumericalError("the sensitivity is NaN or infinite", name_of(module),
                           "check the checkpoint, or use --precision fp32");
    }
  }
}

/// Collective. Whether the run was complete but for the removal of its sums, which is made up for.
bool ended_before(const Communicator& comm, const SensitivityOptions& options, const Setup& setup) {
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
      if (comm.rank() == setup.dealing.owner(i, setup.modules[i]))
        totals[setup.modules[i]] = reader.values(setup.modules[i]);
    }
  });
  log_info("going on after {} of {} batches", setup.batches_done, setup.batches.size());
}

}  // namespace

void check_options(const SensitivityOptions& options) {
  const auto at_least = [](std::int64_t value, std::int64_t least, const char* option) {
    if (value >= least) return;
    throw UsageError(fmt::format("{}", value), option, fmt::format("give {} or more", least));
  };
  at_least(options.batch_tokens, 1, "--batch-tokens");
  at_least(options.calibration_tokens, 0, "--calibration-tokens");
  at_least(options.checkpoint_tokens, 1, "--checkpoint-tokens");
  at_least(options.samples, 1, "--samples");
  if (options.samples >= 1 << 24) throw UsageError("too many", "--samples", "give fewer than 2^24");
  if (options.shards > 1 && options.lanes > 0)
    throw UsageError("both of them", "--lanes, --shards", "give one: replicas of shards are the lanes then");
}

void measure_sensitivities(const Communicator& world, const ops::Context& context,
                           const SensitivityOptions& options, const SensitivityModel& model) {
  const Communicator comm = world.duplicate();
  watch_signals();
  const Stopwatch watch;
  const StopRule rule(options.max_seconds);
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  Setup setup = make_setup(comm, context, options, model);
  log_setup(options, setup);
  if (options.dry_run || ended_before(comm, options, setup)) return;
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
    collector.emplace(context, comm, model.source(replicas.shard(), options.shards), mine, dealing.grid,
                      dealing.rank_in_grid(comm.rank()), shards, setup.how);
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
    report_phases(comm, times);
    agree(comm, [&] {
      throw StoppedEarly(fmt::format("stopped after {} of {} batches", done, setup.batches.size()),
                         options.output.string(), "go on with --resume");
    });
  }
  agree(comm, [&] { divide(setup.header, totals); });
  write_sensitivities(comm, options.output, setup.header, 0, totals);
  agree_at_root(comm, [&] { fs::remove(part); });
  log_info("{} is complete: {} modules in {}", options.output.string(), setup.modules.size(),
           human_duration(watch.seconds()));
  phase.reset();
  report_phases(comm, times);
}

}  // namespace galapagos
