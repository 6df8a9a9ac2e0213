#pragma once

#include <cstdint>
#include <string>

#include <galapagos/model/source.hpp>
#include <galapagos/model/training_loss.hpp>

namespace galapagos {

/// What decides how much memory a training takes.
struct TrainExtent {
  DType precision = DType::f32;       ///< of the working weights
  DType stored = DType::f32;          ///< of the model that comes out
  DType activations = DType::f32;     ///< of what lies between operations
  std::int64_t longest_batch = 1;     ///< tokens
  std::int64_t evaluation_batch = 0;  ///< tokens; 0: nothing is evaluated
  std::int64_t data_tokens = 0;       ///< held, to train on and to evaluate
  std::uint64_t shard_bytes = 5ull << 30;
  int replicas = 1;
  int shards = 1;  ///< of a replica
  bool recompute = false;
  Device device = Device::cpu;
  bool marked = false;  ///< whether each token says if a loss counts it
  TrainingLoss loss = {};
};

/// What a training takes on a rank, in bytes.
struct TrainFootprint {
  std::uint64_t weights = 0;
  std::uint64_t gradients = 0;
  std::uint64_t optimiser = 0;    ///< the rank's part of master weights, moments and summed gradients
  std::uint64_t activations = 0;  ///< of a batch, for the way back
  std::uint64_t reference = 0;    ///< the model that is learnt from, and its activations
  std::uint64_t hidden = 0;       ///< of `reference`: the hidden states that are compared
  std::uint64_t data = 0;         ///< token ids, and what counts of them
  std::uint64_t evaluation = 0;   ///< while the perplexity is measured
  std::uint64_t writing = 0;      ///< while the model is written

  std::uint64_t total() const;
};

/// What the reference takes and how much of it the compared hidden states, after `separator`; empty without
/// one.
std::string reference_text(const TrainFootprint& footprint, const std::string& separator);

/// Of a rank that holds the whole model, or a part with `config`. `reference` may be null; only its sizes are
/// used, and it may be a part too.
TrainFootprint train_footprint(const HfConfig& config, const ModelSource* reference,
                               const TrainExtent& extent);

}  // namespace galapagos
