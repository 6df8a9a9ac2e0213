#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/stitched.hpp>

namespace galapagos {

ModelSource stitched_source(const ops::Context& context, const Checkpoint& checkpoint, const HfConfig& config,
                            const DatabaseReader& database, const SearchSpace& space,
                            const Assignment& assignment, DType precision) {
  ModelSource source = checkpoint_source(checkpoint, config, precision, context.device());
  source.config.layer_shapes = space.shapes(config, assignment);
  source.layer = [&context, &checkpoint, &config, &database, &space, &assignment,
                  precision](std::int64_t layer) {
    LayerWeights weights = load_layer(checkpoint, config, layer, precision, context.device());
    for (std::size_t i = 0; i < space.modules.size(); ++i) {
      const ModuleChoices& module = space.modules[i];
      const std::int16_t level = assignment[i];
      if (module.id.layer != layer || level == 0) continue;
      const auto& kept = module.kept[static_cast<std::size_t>(level)];
      OwnedTensor weight;
      if (!kept.empty()) {
        weight = level_weight(context, database.level_bytes(module.id, level, true), database.header().dtype,
                              precision, static_cast<std::int64_t>(kept.size()), config.hidden_size);
      }
      if (module.id.kind == ModuleKind::attention) {
        weights.attention =
            prune_attention(context, weights.attention, config.head_dim, kept, std::move(weight));
      } else {
        weights.ffn = prune_ffn(context, weights.ffn, kept, std::move(weight));
      }
    }
    return weights;
  };
  return source;
}

}  // namespace galapagos
