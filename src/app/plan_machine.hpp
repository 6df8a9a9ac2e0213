#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/tensor/tensor.hpp>

// What the plans of commands are made from and what they say.
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

/// "3.91 Pflop" and the like.
std::string human_operations(double operations);

}  // namespace galapagos::app
