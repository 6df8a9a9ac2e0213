#pragma once

#include <galapagos/comm/communicator.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/training/model_writer.hpp>
#include <galapagos/training/train_options.hpp>

namespace galapagos {

/// Collective. Trains a model on text, the same on every replica, each with its share of every update's
/// sequences, and writes the run's folder: config.ini, metrics.jsonl, checkpoint.h5, manifest.json and at the
/// end model/. Goes on from the checkpoint with `resume`. StoppedEarly after a signal or at `max_seconds`;
/// NumericalError where a loss or a gradient is not finite.
void run_training(const Communicator& world, const ops::Context& context, const TrainOptions& options,
                  const ModelWriter& write_model);

}  // namespace galapagos
