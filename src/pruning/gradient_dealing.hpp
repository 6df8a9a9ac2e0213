#pragma once

#include <cstddef>
#include <vector>

#include <galapagos/model/partition.hpp>
#include <galapagos/model/pipeline.hpp>
#include <galapagos/pruning/module_id.hpp>

namespace galapagos {

/// How the ranks are dealt: to stages and lanes, or to shards and, as lanes, the replicas that they form.
struct GradientDealing {
  PipelineGrid grid;
  int shards = 1;

  /// With the first order, what each shard has of the unpruned model.
  std::vector<ModelPart> dense = {};

  bool member(int rank) const { return rank < grid.stages() * grid.lanes * shards; }
  /// Of stages and lanes.
  int rank_in_grid(int rank) const { return rank / shards; }
  int lane_of(int rank) const { return grid.lane_of(rank_in_grid(rank)); }
  /// The rank of a lane that gathers a module's gradients: with shards they take turns.
  int holder(int lane, std::size_t index, const ModuleId& module) const {
    return grid.rank_of(lane, grid.stage_of_layer(module.layer)) * shards +
           static_cast<int>(index % static_cast<std::size_t>(shards));
  }
  /// The holder that adds up what those of all lanes have.
  int owner(std::size_t index, const ModuleId& module) const {
    return holder(
        static_cast<int>(index / static_cast<std::size_t>(shards) % static_cast<std::size_t>(grid.lanes)),
        index, module);
  }
};

}  // namespace galapagos
