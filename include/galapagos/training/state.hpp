#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/training/optimiser.hpp>
#include <galapagos/training/sampler.hpp>

namespace galapagos {

/// What of a training run is not in the optimiser.
struct TrainingState {
  std::string identity;  ///< JSON: everything that decides the course of the run
  DataPosition data;
  std::int64_t steps = 0;
  double seconds = 0;  ///< spent so far, over all runs
};

/// Collective. Writes checkpoint.h5 in `folder`, every rank its part of the optimiser's state (one shard's
/// after another's), and keeps the one before as checkpoint.previous.h5. ResourceError where the disk is
/// full.
void save_state(const Communicator& comm, const Shards& shards, const std::filesystem::path& folder,
                const TrainingState& state, const ShardedAdamW& optimiser);

/// Collective. Reads the last checkpoint, or the one before where the last is damaged, whatever the number of
/// replicas that wrote it, and restores the optimiser and the working weights. InputError where there is
/// none, or where it belongs to another run than `identity`, naming the first difference.
TrainingState load_state(const Communicator& comm, const Shards& shards, const std::filesystem::path& folder,
                         const std::string& identity, ShardedAdamW& optimiser, const Gradients& scratch);

}  // namespace galapagos
