#pragma once

#include "support/small_run.hpp"

#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/training/train.hpp>

namespace galapagos::test {

/// Collective. Some updates of a model of tests/data/models on part of the sample text; the run's folder is
/// folder / "run".
TrainOptions small_training(const Communicator& comm, const std::string& model, const SharedFolder& folder);

/// Collective. Copies a pruned model of tests/data/models to `folder`, with the tokenizer of the unpruned
/// one.
void copy_with_tokenizer(const Communicator& comm, const std::string& model,
                         const std::filesystem::path& folder);

/// How a run ended, what it wrote, and the model that came out.
struct RunEnd {
  int code = 0;
  std::string message;
  std::vector<Json> metrics;  ///< without what depends on the machine
  std::vector<float> model;   ///< master weights; empty where it did not come to the end
};

/// Collective; never throws. The same on every rank but for the message, which is the root's.
RunEnd run_to_end(const Communicator& comm, const TrainOptions& options);

/// Runs until it is done, stopped when the last rank has been asked `first` times whether to go on, and then
/// after every `stride` questions. `stops` counts how often.
RunEnd run_with_stops(const Communicator& comm, TrainOptions options, int first, int stride, int& stops);

}  // namespace galapagos::test
