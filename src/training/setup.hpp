#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/training/sampler.hpp>
#include <galapagos/training/schedule.hpp>
#include <galapagos/training/train_options.hpp>

namespace galapagos {

/// A model's folder that only has to give weights.
struct OpenModel {
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  ModelSource source;  ///< of this rank's part, which has a configuration of its own
};

/// What all ranks of a training agree on before the work begins. It holds pointers into itself and must not
/// move.
struct TrainSetup {
  TrainOptions options;  ///< as they were asked for
  OpenModel model;
  std::optional<OpenModel> reference;
  DType precision = DType::f32;  ///< of the working weights
  DType stored = DType::f32;     ///< of the model that comes out
  TokenSet data;
  std::vector<TokenSet> eval_sets;
  std::optional<Sampler> sampler;
  Schedule schedule;
  TrainingLoss loss;
  std::int64_t longest = 1;  ///< tokens of the largest batch
  std::int64_t parameters = 0;
  std::string identity;
};

/// Collective. Checks the options, opens the models and reads the texts.
void prepare(const Communicator& comm, const ReplicaGrid& grid, const ops::Context& context,
             const TrainOptions& asked, TrainSetup& setup);

/// Collective. Says what a rank needs, and refuses what it has not with a ResourceError.
void check_memory(const Communicator& comm, const ReplicaGrid& grid, const TrainSetup& setup,
                  const ops::Context& context);

}  // namespace galapagos
