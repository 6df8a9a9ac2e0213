#pragma once

#include "divergence_change.hpp"

#include <functional>
#include <optional>
#include <span>

#include <galapagos/core/phase_times.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/expert_use.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// Where given, what a level's weight [kept, hidden], fp32 on the context's device, is replaced by.
using Refit = std::function<OwnedTensor(const Tensor& hessian, std::span<const std::int64_t> kept,
                                        const Tensor& weight)>;

/// A module and what it is pruned by, wherever the inputs of its Hessian came from.
struct PruningTask {
  ModuleId module;
  OwnedTensor weight;   ///< [columns, hidden] fp32, transposed; it need not be the checkpoint's
  OwnedTensor hessian;  ///< (2/N) sum x x^T, N = header.calibration_sequences: [columns, columns] fp32, lower
  std::optional<Sensitivity> sensitivity = {};  ///< where the header names sensitivities
  double least_mean = 0;                        ///< as in ObsProblem
  std::optional<ExpertUse> use = {};            ///< of an expert
  std::optional<FirstOrder> first_order = {};   ///< where end losses are changes of the divergence
  Refit refit = {};
  LevelSink stored = {};  ///< where given, is shown each level's weight as the file gets it
};

/// What the reader has of the first order of a module, on the context's device. InputError where the file is
/// damaged.
FirstOrder read_first_order(const ops::Context& context, const SensitivityReader& reader,
                            const ModuleId& module);

/// A copy of another type on the tensor's device.
OwnedTensor converted(const ops::Context& context, const Tensor& tensor, DType type);

/// What OBS is given of a task; the task keeps the rest.
ObsProblem obs_problem(const DatabaseHeader& header, PruningTask& task);

/// Writes a level's weight [kept, hidden], fp32 on the context's device, and shows it to task.stored.
void write_level(const ops::Context& context, const DatabaseHeader& header, const PruningTask& task,
                 std::int64_t level, std::span<const std::int64_t> kept, const Tensor& weight,
                 DatabaseWriter& writer);

/// Prunes a module to the levels of the header and writes them, with end losses in nats per token where there
/// is a sensitivity: with a first order, those of DivergenceChange. Not collective. Errors as
/// structured_obs().
void prune_module(const ops::Context& context, const DatabaseHeader& header, PruningTask task,
                  DatabaseWriter& writer, PhaseTimes& times);

}  // namespace galapagos
