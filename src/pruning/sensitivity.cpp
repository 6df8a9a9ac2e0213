#include "sensitivity_totals.hpp"

#include <cmath>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/pruning/sketch.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

void log_setup(const SensitivitySetup& setup) {
  const SensitivityOptions& options = setup.options;
  const GradientDealing& dealing = setup.dealing;
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
void finish(const SensitivitySetup& setup, const SensitivityModel& model, Sensitivities& totals) {
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

/// Collective. Whether an earlier run was complete, perhaps but for the removal of its sums, which is made up
/// for.
bool ended_before(const Communicator& comm, const SensitivitySetup& setup) {
  const SensitivityOptions& options = setup.options;
  if (setup.found != Found::complete) return false;
  agree_at_root(comm, [&] {
    check_same_sensitivity(SensitivityReader(options.output).header(), setup.header, options.output.string());
    fs::remove(part_path(options.output));
  });
  log_info("{} is complete already", options.output.string());
  return true;
}

void resume(const Communicator& comm, const fs::path& part, SensitivitySetup& setup, Sensitivities& totals) {
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
  log_info("goes on from {}, {} of {} batches done; --fresh begins anew", part.string(), setup.batches_done,
           setup.batches.size());
}

}  // namespace

void measure_sensitivities(const Communicator& world, const ops::Context& context,
                           const SensitivityOptions& asked, const SensitivityModel& model) {
  watch_signals();  // on all ranks before one of them has the lock
  const Communicator comm = world.duplicate();
  const Stopwatch watch;
  const StopRule rule(asked.max_seconds);
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  std::optional<OutputLock> lock;
  agree_at_root(comm, [&] {
    if (!asked.dry_run) lock.emplace(asked.output);
  });
  SensitivitySetup setup = make_sensitivity_setup(comm, context, asked, model);
  const SensitivityOptions& options = setup.options;
  log_setup(setup);
  if (options.dry_run || ended_before(comm, setup)) return;
  const fs::path part = part_path(options.output);
  // Sums that are saved lie beside those that they replace, and the result beside the last ones.
  const bool goes_on = setup.found == Found::unfinished;
  agree_at_root(comm, [&] {
    if (options.fresh) {
      fs::remove(options.output);
      fs::remove(part);
    }
    check_room(setup.header, part, goes_on ? 1 : 2);
  });
  Sensitivities totals;
  if (goes_on) resume(comm, part, setup, totals);

  const GradientDealing& dealing = setup.dealing;
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
                         options.output.string(), go_on);
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
