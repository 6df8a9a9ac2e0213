#include "plan.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/build.hpp>

namespace galapagos {
namespace {

StageWeights load_my_stage(const Plan& plan, int rank, Device device) {
  if (!plan.grid.member(rank)) return {};
  const LayerSpan span = plan.grid.spans[static_cast<std::size_t>(plan.grid.stage_of(rank))];
  return load_stage(checkpoint_source(*plan.checkpoint, plan.config, plan.precision, device), span);
}

/// The module's weight as OBS wants it: [columns, d_row] fp32.
OwnedTensor transposed_weight(const Checkpoint& checkpoint, const ModuleId& module, std::int64_t rows,
                              std::int64_t columns) {
  const std::string name = name_of(module) + ".weight";
  const std::vector<float> weight = checkpoint.read_float(name, {rows, columns});
  OwnedTensor transposed({columns, rows}, DType::f32, Device::cpu, name);
  constexpr std::int64_t block = 64;
  for (std::int64_t i = 0; i < rows; i += block) {
    for (std::int64_t j = 0; j < columns; ++j) {
      for (std::int64_t r = i; r < std::min(i + block, rows); ++r) {
        transposed->floats()[j * rows + r] = weight[static_cast<std::size_t>(r * columns + j)];
      }
    }
  }
  return transposed;
}

OwnedTensor converted(const ops::Context& context, const Tensor& tensor, DType type) {
  OwnedTensor copy(tensor.shape, type, tensor.device, "a level's weight");
  ops::convert(context, tensor, copy);
  return copy;
}

void prune_module(const ops::Context& context, const Plan& plan, const ModuleId& module, OwnedTensor hessian,
                  DatabaseWriter& writer, PhaseTimes& times) {
  const PhaseScope pruning(&times, "pruning");
  const StructureLayout layout = plan.header.layout(module);
  const auto& removed = plan.header.removed(module);
  const Stopwatch watch;
  ObsProblem problem;
  problem.name = name_of(module);
  problem.weight = transposed_weight(*plan.checkpoint, module, plan.config.hidden_size, layout.columns);
  problem.hessian = std::move(hessian);
  problem.unit = layout.unit;
  problem.round = layout.round;
  problem.relative_damping = plan.header.relative_damping;
  problem.removed.assign(removed.begin() + 1, removed.end());
  const ObsSummary summary = structured_obs(
      context, problem, [&](std::int64_t level, std::span<const std::int64_t>, const Tensor& weight) {
        const PhaseScope writing(&times, "writing");
        // A GPU rounds what it would otherwise send in full.
        const bool there = weight.device != Device::cpu && plan.header.dtype != DType::f32;
        const OwnedTensor rounded = there ? converted(context, weight, plan.header.dtype) : OwnedTensor();
        writer.write_level(module, level, there ? rounded : weight);
      });
  const PhaseScope writing(&times, "writing");
  writer.finish_module(module, summary);
  if (summary.attempts > 1) {
    log_warning("{}: the Hessian needed a relative damping of {:g}", problem.name, summary.relative_damping);
  }
  log_debug("{}: loss {:.4g} with everything removed, {:.2f} s", problem.name, summary.loss.back(),
            watch.seconds());
}

void run_pass(const Communicator& comm, const ops::Context& context, const Plan& plan,
              const StageWeights& stage, std::span<const ModuleId> modules, DatabaseWriter& writer,
              PhaseTimes& times) {
  Hessians hessians;
  {
    const PhaseScope waiting(&times, "waiting");
    FailureBoard board(comm);
    const Collection collection{plan.grid, plan.config, plan.batches, plan.header.calibration_sequences};
    hessians = collect_hessians(context, comm, collection, stage, modules, board, &times);
    board.settle();
  }
  const std::vector<int> owners = assign_owners(modules, plan.config, plan.grid, comm.size());
  {
    const PhaseScope communicating(&times, "communicating");
    hessians = reduce_to_owners(comm, plan.grid, plan.config, modules, owners, std::move(hessians));
  }
  FailureBoard board(comm);
  Progress progress("pruned modules of this rank", static_cast<std::int64_t>(hessians.size()));
  while (!hessians.empty() && !board.failed()) {
    auto next = hessians.extract(hessians.begin());
    board.attempt([&] { prune_module(context, plan, next.key(), std::move(next.mapped()), writer, times); });
    progress.advance();
  }
  board.attempt([&] { writer.drain(); });
  const PhaseScope waiting(&times, "waiting");
  board.settle();
}

}  // namespace

void build_database(const Communicator& world, const ops::Context& context, const DatabaseOptions& options) {
  const Communicator comm = world.duplicate();
  const Stopwatch watch;
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const Plan plan = make_plan(comm, options, context.device());
  if (plan.found == Found::complete && plan.missing.empty()) {
    log_info("{} is complete, nothing to do", options.output.string());
    return;
  }
  log_plan(comm, options, plan);
  if (options.dry_run) return;

  const std::filesystem::path part = part_path(options.output);
  agree_at_root(comm, [&] {
    if (plan.found == Found::nothing) {
      create_database(part, plan.header);
    } else if (!plan.missing.empty()) {
      reopen_database(plan.found == Found::complete ? options.output : part, part, plan.missing);
    }
  });
  if (!plan.missing.empty()) {
    const StageWeights stage =
        agree_on(comm, [&] { return load_my_stage(plan, comm.rank(), context.device()); });
    auto thread = agree_on(comm, [&] { return DatabaseWriter::begin_thread(part, plan.header); });
    auto writer = agree_on(comm, [&] { return DatabaseWriter(part, comm, std::move(thread), plan.header); });
    phase.reset();
    for (const std::vector<ModuleId>& pass : plan.passes)
      run_pass(comm, context, plan, stage, pass, writer, times);
    phase.emplace(&times, "writing");
    agree(comm, [&] { writer.close(); });  // drained at the end of each pass
  }
  phase.emplace(&times, "writing");
  // A file that earlier runs and a disk in between have had their hands on is compared with its checksums
  // once more before it gets its final name.
  if (plan.found != Found::nothing) missing_modules(comm, part, false);
  agree_at_root(comm, [&] { complete_database(part, options.output); });
  log_info("{} is complete: {} modules in {}", options.output.string(), plan.header.modules().size(),
           human_duration(watch.seconds()));
  phase.reset();
  report_phases(comm, times);
}

}  // namespace galapagos
