#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/search/search.hpp>
#include <galapagos/training/distil.hpp>
#include <galapagos/training/train.hpp>

// The parts of `plan`: what each command needs on a machine, from sizes alone.
namespace galapagos::app {

/// What commands are to run on. A rate of 0 is unknown.
struct Machine {
  int ranks = 1;
  int nodes = 1;
  std::uint64_t node_memory = 0;  ///< bytes
  std::uint64_t gpu_memory = 0;   ///< bytes of a GPU, of which each rank has one; 0 where ranks have none
  double peak = 0;                ///< operations per second of a rank
  double bandwidth = 0;           ///< bytes per second: of a rank's memory, of a node's network, of all disks
  double network = 0;
  double disk = 0;
  double efficiency = 0.5;  ///< share of these rates that is reached

  Device device() const { return gpu_memory > 0 ? Device::cuda : Device::cpu; }
  int ranks_per_node() const { return (ranks + nodes - 1) / nodes; }
  /// Replicas of `shards` neighbouring ranks that lie on a node and on others too, on the node with most.
  int split_replicas(int shards) const;
  /// Bytes a rank may use, where its tensors lie, if `asked` is 0; 0 where unknown.
  std::uint64_t limit(std::uint64_t asked) const;
  /// Bytes of a node's own memory that each of its ranks may use; 0 where unknown.
  std::uint64_t host_share() const;
  /// With GPUs: bytes that the ranks of a node may use of the node's own memory.
  std::optional<std::uint64_t> host_limit() const;
  /// What a rank's tensors take memory of.
  std::string memory_name() const { return gpu_memory > 0 ? "memory of a GPU" : "memory of a rank"; }
};

/// A model that may have no weights yet.
struct ModelSizes {
  HfConfig config;
  DType stored = DType::f32;
  DType precision = DType::f32;  ///< of the working weights
};

/// What is said of one command.
struct PlannedPhase {
  std::string name;
  std::vector<std::pair<std::string, std::string>> rows;
  std::vector<std::string> warnings;
  Json json;
};

/// `sequence_length`: of the text.
PlannedPhase plan_sensitivity(const Machine& machine, const ModelSizes& model,
                              const SensitivityOptions& options, std::int64_t sequence_length);
PlannedPhase plan_database(const Machine& machine, const DatabaseOptions& options,
                           const DatabaseHeader& header);
/// `stored`: the type of the database's levels.
PlannedPhase plan_search(const Machine& machine, const ModelSizes& model, const SearchOptions& options,
                         const SearchSpace& space, DType stored);
/// Of the uniform assignment within the budget of `search`.
PlannedPhase plan_stitch(const Machine& machine, const ModelSizes& model, const StitchOptions& options,
                         const DatabaseHeader& header, const SearchSpace& space, const SearchOptions& search);
/// `sequence_length`, `tokens`: of the data. `shards`: ranks of a replica.
PlannedPhase plan_eval(const Machine& machine, const ModelSizes& model,
                       const std::optional<ModelSizes>& reference, const EvaluationOptions& options,
                       std::int64_t sequence_length, std::int64_t tokens, int shards);

/// The text is taken to be as long as what is trained on.
PlannedPhase plan_train(const Machine& machine, const ModelSizes& model,
                        const std::optional<ModelSizes>& reference, const TrainOptions& options,
                        std::int64_t sequence_length, int shards);

/// Of `model` toward `reference`, on `tokens` of text.
PlannedPhase plan_distil(const Machine& machine, const ModelSizes& model, const ModelSizes& reference,
                         const DistilOptions& options, std::int64_t sequence_length, std::int64_t tokens);

/// Collective. `galapagos plan collectives`.
void plan_collectives(const Communicator& world, const std::vector<std::string>& words);

/// "3.91 Pflop" and the like.
std::string human_operations(double operations);

}  // namespace galapagos::app
