#include "module_weights.hpp"
#include "path.hpp"
#include "plan.hpp"
#include "prune_module.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/build.hpp>

namespace galapagos {
namespace {

StageWeights load_my_stage(const Plan& plan, int rank, Device device) {
  if (!plan.grid.member(rank)) return {};
  const LayerSpan span = plan.grid.spans[static_cast<std::size_t>(plan.grid.stage_of(rank))];
  return load_stage(checkpoint_source(*plan.checkpoint, plan.config, plan.precision, device), span);
}

/// What the ranks read and write while they prune, and what they look at in between, which throws
/// StoppedEarly.
struct Files {
  ModuleWeights& weights;
  const SensitivityReader* sensitivities;  ///< null without
  DatabaseWriter& writer;
  std::function<void()> check;
};

/// The first of a pass's modules, ascending, that a rank prunes.
std::optional<ModuleId> first_of(int rank, std::span<const ModuleId> modules, std::span<const int> owners) {
  const auto found = std::find(owners.begin(), owners.end(), rank);
  if (found == owners.end()) return std::nullopt;
  return modules[static_cast<std::size_t>(found - owners.begin())];
}

/// `next`: the module that comes after this one on this rank.
void prune(const ops::Context& context, const Plan& plan, const ModuleId& module, OwnedTensor hessian,
           const ExpertUses& uses, std::optional<ModuleId> next, const Files& files, PhaseTimes& times) {
  PruningTask task{module, {}, std::move(hessian)};
  if (const auto use = uses.find(module); use != uses.end()) {
    task.use = use->second;
    task.least_mean = least_mean_diagonal(plan.config, uses, module, plan.header.calibration_sequences);
  }
  {
    const PhaseScope pruning(&times, "pruning");
    task.weight = files.weights.transposed(module);
    if (next) files.weights.read_ahead(*next);
    if (files.sensitivities != nullptr)
      task.sensitivity = read_sensitivity(context, *files.sensitivities, module);
  }
  prune_module(context, plan.header, std::move(task), files.writer, times);
}

/// How a pass's Hessians go between devices: this rank may use what was planned for its stage, whose
/// activations are gone by then and whose pruning has not begun.
std::optional<DeviceSums> device_sums(const ops::Context& context, const Plan& plan, int rank,
                                      std::span<const ModuleId> modules, Collectives* collectives) {
  if (collectives == nullptr) return std::nullopt;
  DeviceSums sums{context, *collectives};
  if (!plan.grid.member(rank)) return sums;
  const LayerSpan& span = plan.grid.spans[static_cast<std::size_t>(plan.grid.stage_of(rank))];
  const StageMemory memory = stage_memory(plan.config, span, plan.extent(), modules);
  sums.owned = memory.hessians + memory.activations;
  sums.reducing = sums.owned + memory.pruning;
  return sums;
}

void run_pass(const Communicator& comm, const ops::Context& context, const Plan& plan,
              const StageWeights& stage, std::span<const ModuleId> modules, ExpertUses& uses,
              const Files& files, Collectives* collectives, PhaseTimes& times) {
  Hessians hessians;
  {
    const PhaseScope waiting(&times, "waiting");
    FailureBoard board(comm);
    const Collection collection{plan.grid,   plan.config, plan.batches, plan.header.calibration_sequences,
                                files.check, uses.empty()};
    Collected collected = collect_hessians(context, comm, collection, stage, modules, board, &times);
    board.settle();
    hessians = std::move(collected.hessians);
    if (uses.empty()) {
      uses = sum_uses(comm, plan.header.modules(), collected.uses);
      if (comm.is_root()) warn_of_rare_experts(plan.config, uses);
    }
  }
  const std::vector<int> owners = assign_owners(modules, plan.config, plan.grid, comm.size());
  if (const auto first = first_of(comm.rank(), modules, owners)) files.weights.read_ahead(*first);
  {
    const PhaseScope communicating(&times, "communicating");
    const auto device = device_sums(context, plan, comm.rank(), modules, collectives);
    run_or_abort([&] {
      hessians = reduce_to_owners(comm, plan.grid, plan.config, modules, owners, std::move(hessians), device);
    });
  }
  FailureBoard board(comm);
  Progress progress("pruned modules of this rank", static_cast<std::int64_t>(hessians.size()));
  while (!hessians.empty() && !board.failed()) {
    auto now = hessians.extract(hessians.begin());
    const auto next = hessians.empty() ? std::nullopt : std::optional(hessians.begin()->first);
    board.attempt([&] {
      files.check();
      prune(context, plan, now.key(), std::move(now.mapped()), uses, next, files, times);
    });
    progress.advance();
  }
  board.attempt([&] { files.writer.drain(); });
  const PhaseScope waiting(&times, "waiting");
  board.settle();
}

void build_in_passes(const Communicator& comm, const ops::Context& context, const Plan& plan,
                     const SensitivityReader* sensitivities, const std::filesystem::path& part,
                     const std::function<void()>& check, Collectives* collectives, PhaseTimes& times) {
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const StageWeights stage =
      agree_on(comm, [&] { return load_my_stage(plan, comm.rank(), context.device()); });
  auto thread = agree_on(comm, [&] { return DatabaseWriter::begin_thread(part); });
  auto writer = agree_on(comm, [&] { return DatabaseWriter(part, comm, std::move(thread), plan.header); });
  ModuleWeights weights(context, *plan.checkpoint, plan.config);
  const Files files{weights, sensitivities, writer, check};
  ExpertUses uses;  // of all experts, from the first pass
  phase.reset();
  for (const std::vector<ModuleId>& pass : plan.passes)
    run_pass(comm, context, plan, stage, pass, uses, files, collectives, times);
  phase.emplace(&times, "writing");
  agree(comm, [&] { writer.close(); });  // drained at the end of each pass
}

}  // namespace

void build_database(const Communicator& world, const ops::Context& context, const DatabaseOptions& options) {
  watch_signals();  // on all ranks before one of them has the lock
  const Communicator comm = world.duplicate();
  const Stopwatch watch;
  const StopRule stop(options.max_seconds);
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  std::optional<OutputLock> lock;
  agree_at_root(comm, [&] {
    if (!options.dry_run) lock.emplace(options.output);
  });
  const Plan plan = make_plan(comm, options, context.device());
  if (plan.found == Found::complete && plan.missing.empty()) {
    log_info("{} is complete already", options.output.string());
    return;
  }
  log_plan(comm, options, plan);
  if (options.dry_run) return;

  const std::filesystem::path part = part_path(options.output);
  if (plan.found != Found::nothing) {
    const std::size_t all = plan.header.modules().size();
    log_info("goes on from {}, {} of {} modules done; --fresh begins anew", part.string(),
             all - plan.missing.size(), all);
  }
  agree_at_root(comm, [&] {
    if (options.fresh) {
      std::filesystem::remove(options.output);
      std::filesystem::remove(part);
    }
    if (plan.found == Found::nothing) {
      create_database(part, plan.header);
    } else if (!plan.missing.empty()) {
      reopen_database(plan.found == Found::complete ? options.output : part, part, plan.missing);
    }
  });
  phase.reset();
  if (!plan.missing.empty()) {
    const std::unique_ptr<Collectives> collectives =
        options.make_collectives ? options.make_collectives(comm) : nullptr;
    const auto sensitivities = agree_on(comm, [&] { return open_sensitivities(options, plan); });
    const SensitivityReader* reader = sensitivities ? &*sensitivities : nullptr;
    if (options.path) {
      build_on_path(comm, context, options, plan, reader, collectives.get(), part, stop, times);
    } else {
      // Whichever rank sees it first, all of them stop.
      const auto check = [&] {
        if (!stop.holds()) return;
        throw StoppedEarly("stopped; what modules are done is kept", part.string(), go_on);
      };
      build_in_passes(comm, context, plan, reader, part, check, collectives.get(), times);
    }
  }
  phase.emplace(&times, "writing");
  // A file that earlier runs and a disk in between have had their hands on is compared with its checksums
  // once more before it gets its final name.
  if (plan.found != Found::nothing) missing_modules(comm, part, false);
  agree_at_root(comm, [&] { complete_database(part, options.output); });
  log_info("{} is complete: {} modules in {}", options.output.string(), plan.header.modules().size(),
           human_duration(watch.seconds()));
  phase.reset();
  report_run(comm, times);
}

}  // namespace galapagos
