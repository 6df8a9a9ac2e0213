#include "prune_module.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include <galapagos/core/logging.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {

FirstOrder read_first_order(const ops::Context& context, const SensitivityReader& reader,
                            const ModuleId& module) {
  const std::int64_t hidden = reader.header().config.hidden_size;
  const auto on_device = [&](std::vector<float> values) {
    const std::int64_t columns = std::ssize(values) / hidden;
    const Tensor tensor{
        reinterpret_cast<std::byte*>(values.data()), {columns, hidden}, DType::f32, Device::cpu};
    return copy_of(tensor, context.device(), "the first order of " + name_of(module));
  };
  return {on_device(reader.first_order(module)), on_device(reader.in_place(module))};
}

OwnedTensor converted(const ops::Context& context, const Tensor& tensor, DType type) {
  OwnedTensor copy(tensor.shape, type, tensor.device, "a level's weight");
  ops::convert(context, tensor, copy);
  return copy;
}

ObsProblem obs_problem(const DatabaseHeader& header, PruningTask& task) {
  const StructureLayout layout = header.layout(task.module);
  const auto& removed = header.removed(task.module);
  ObsProblem problem;
  problem.name = name_of(task.module);
  problem.weight = std::move(task.weight);
  problem.hessian = std::move(task.hessian);
  problem.unit = layout.unit;
  problem.round = layout.round;
  problem.relative_damping = header.relative_damping;
  problem.least_mean = task.least_mean;
  problem.removed.assign(removed.begin() + 1, removed.end());
  problem.sensitivity = std::move(task.sensitivity);
  return problem;
}

void write_level(const ops::Context& context, const DatabaseHeader& header, const PruningTask& task,
                 std::int64_t level, std::span<const std::int64_t> kept, const Tensor& weight,
                 DatabaseWriter& writer) {
  // Rounded where it lies: a GPU would otherwise send it in full.
  const bool rounds = weight.dtype != header.dtype;
  const OwnedTensor rounded = rounds ? converted(context, weight, header.dtype) : OwnedTensor();
  const Tensor& stored = rounds ? rounded : weight;
  writer.write_level(task.module, level, stored);
  if (task.stored) task.stored(level, kept, stored);
}

void prune_module(const ops::Context& context, const DatabaseHeader& header, PruningTask task,
                  DatabaseWriter& writer, PhaseTimes& times) {
  const PhaseScope pruning(&times, "pruning");
  const Stopwatch watch;
  const ObsProblem problem = obs_problem(header, task);
  // The Hessian per token is mean x x^T, T tokens: N / (2 T) of ours.
  const double per_token = static_cast<double>(header.calibration_sequences) /
                           (2 * static_cast<double>(header.calibration_tokens));
  std::optional<DivergenceChange> change;
  const auto change_to = [&](std::span<const std::int64_t> kept, const Tensor& weight) {
    if (header.dtype == DType::f32) return change->to(kept, weight);
    // As the file has it: nothing changes where it is the weight in place.
    return change->to(kept, converted(context, converted(context, weight, header.dtype), DType::f32));
  };
  std::vector<double> changes(problem.removed.size() + 1, 0.0);
  if (task.first_order) {
    change.emplace(context, *task.first_order, *problem.sensitivity, problem.hessian, per_token);
    std::vector<std::int64_t> columns(static_cast<std::size_t>(problem.weight->rows()));
    std::iota(columns.begin(), columns.end(), 0);
    changes.front() = change_to(columns, problem.weight);
  }
  ObsSummary summary = structured_obs(
      context, problem, [&](std::int64_t level, std::span<const std::int64_t> kept, const Tensor& pruned) {
        const OwnedTensor refitted = task.refit ? task.refit(problem.hessian, kept, pruned) : OwnedTensor();
        const Tensor& weight = task.refit ? refitted.view() : pruned;
        if (change) changes[static_cast<std::size_t>(level)] = change_to(kept, weight);
        const PhaseScope writing(&times, "writing");
        write_level(context, header, task, level, kept, weight, writer);
      });
  for (double& loss : summary.end_loss) loss *= per_token;
  if (change) summary.end_loss = std::move(changes);
  const PhaseScope writing(&times, "writing");
  writer.finish_module(task.module, summary, task.use);
  if (summary.attempts > 1) {
    log_warning("{}: the Hessian needed a relative damping of {:g}", problem.name, summary.relative_damping);
  }
  log_debug("{}: loss {:.4g} with everything removed, {:.2f} s", problem.name, summary.loss.back(),
            watch.seconds());
}

}  // namespace galapagos
