#include <memory>

#include <galapagos/assignment/built_module.hpp>
#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {

ModelSource stitched_source(const ops::Context& context, const Checkpoint& checkpoint, const HfConfig& config,
                            const DatabaseReader& database, const SearchSpace& space,
                            const Assignment& assignment, DType precision, int shard, int shards) {
  const auto part = std::make_shared<const SpacePart>(
      part_of_space(space, config, costs_of_assignment(space, config, assignment), shard, shards));
  ModelSource source = checkpoint_source(checkpoint, config, part->model, precision, context.device());
  source.config = config_of(*part, assignment);
  source.layer = [&context, &database, &assignment, part, precision,
                  unpruned = source.layer](std::int64_t layer) {
    LayerWeights weights = unpruned(layer);
    std::vector<std::shared_ptr<const ExpertWeights>> experts = weights.ffn.experts;
    for (std::size_t i = 0; i < part->space.modules.size(); ++i) {
      const ModuleId& module = part->space.modules[i].id;
      const std::int64_t level = assignment[i];
      if (module.layer != layer || level < part->space.first_stored) continue;
      std::vector<std::byte> words;
      BuiltModule built =
          build_module(context, *part, i, level, weights, {database.header().dtype, precision, false},
                       [&](std::int64_t first, std::int64_t count, bool verified) {
                         return database.read_level_rows(module, level, first, count, verified, words);
                       });
      if (module.expert != no_expert) {
        experts[static_cast<std::size_t>(module.expert)] = std::move(built.expert);
      } else if (module.kind == ModuleKind::attention) {
        weights.attention = std::move(built.attention);
      } else {
        weights.ffn = std::move(built.ffn);
      }
    }
    if (experts != weights.ffn.experts) weights.ffn = with_experts(context, weights.ffn, std::move(experts));
    return weights;
  };
  return source;
}

}  // namespace galapagos
