#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/training/train_options.hpp>

namespace galapagos {

/// Collective. Writes a model's folder from its parameters' values, stored as `dtype`: fp32, all of them on
/// every rank, or of a replica on several shards each one's slices.
using ModelWriter =
    std::function<void(const HfConfig& config, std::span<const NamedTensor> values, const ReplicaGrid& grid,
                       DType dtype, const std::filesystem::path& folder)>;

/// Collective. Trains a model on text, the same on every replica, each with its share of every update's
/// sequences, and writes the run's folder: config.ini, metrics.jsonl, checkpoint.h5, manifest.json and at the
/// end model/. Goes on from the checkpoint with `resume`. StoppedEarly after a signal or at `max_seconds`;
/// NumericalError where a loss or a gradient is not finite.
void run_training(const Communicator& world, const ops::Context& context, const TrainOptions& options,
                  const ModelWriter& write_model);

}  // namespace galapagos
