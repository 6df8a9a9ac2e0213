#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/model/partition.hpp>

namespace galapagos {

/// What a shard holds of a model and of all levels of its modules. A structure belongs to the same shard at
/// every level: what a level keeps of it is one slab of the checkpoint's tensors and one of the database's.
struct SpacePart {
  ModelPart model;
  SearchSpace space;  ///< columns numbered from the part's first, parameters of the part alone
  /// Of each module, what each level keeps that the database has before the part's rows.
  std::vector<std::vector<std::int64_t>> first_kept;

  /// Whether this shard is the one that checks all of a level against its checksum: they take turns.
  bool verifies(std::size_t module, std::int64_t level) const {
    return static_cast<int>((module + static_cast<std::size_t>(level)) %
                            static_cast<std::size_t>(model.shards)) == model.shard;
  }
};

/// What levels keep on the mean over all of them, so that shards have about equal work at any.
std::vector<LayerCosts> costs_of_space(const SearchSpace& space, const HfConfig& config);
/// What an assignment keeps.
std::vector<LayerCosts> costs_of_assignment(const SearchSpace& space, const HfConfig& config,
                                            const Assignment& assignment);

/// The part of a shard, or all of the space where there is one. UsageError as part_of_model.
SpacePart part_of_space(const SearchSpace& space, const HfConfig& config,
                        const std::vector<LayerCosts>& costs, int shard, int shards);
inline SpacePart part_of_space(const SearchSpace& space, const HfConfig& config, int shard = 0,
                               int shards = 1) {
  return part_of_space(space, config, costs_of_space(space, config), shard, shards);
}

/// The configuration of a part under an assignment.
HfConfig config_of(const SpacePart& part, const Assignment& assignment);

}  // namespace galapagos
