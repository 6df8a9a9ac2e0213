#include <memory>
#include <span>

#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/space_part.hpp>
#include <galapagos/search/stitched.hpp>

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
    const HfConfig& own = part->model.config;
    for (std::size_t i = 0; i < part->space.modules.size(); ++i) {
      const ModuleChoices& module = part->space.modules[i];
      const auto level = static_cast<std::size_t>(assignment[i]);
      if (module.id.layer != layer || assignment[i] < part->space.first_stored) continue;
      const bool attention = module.id.kind == ModuleKind::attention;
      if (!part->present[i][level]) {
        if (attention) weights.attention = AttentionWeights();
        if (!attention) weights.ffn = FfnWeights();
        continue;
      }
      const auto& kept = module.kept[level];
      const auto count = static_cast<std::int64_t>(kept.size());
      const DType dtype = database.header().dtype;
      std::vector<std::byte> storage;
      std::span<const std::byte> words;
      if (part->verifies(i, assignment[i])) {
        const std::size_t row = static_cast<std::size_t>(own.hidden_size) * size_of(dtype);
        storage = database.level_bytes(module.id, assignment[i], true);
        words = std::span<const std::byte>(storage).subspan(
            static_cast<std::size_t>(part->first_kept[i][level]) * row,
            static_cast<std::size_t>(count) * row);
      } else if (count > 0) {
        words = storage = database.level_rows(module.id, assignment[i], part->first_kept[i][level], count);
      }
      OwnedTensor weight;
      if (count > 0) weight = level_weight(context, words, dtype, precision, count, count, own.hidden_size);
      if (attention) {
        weights.attention =
            prune_attention(context, weights.attention, own.head_dim, kept, std::move(weight));
      } else {
        weights.ffn = prune_ffn(context, weights.ffn, kept, std::move(weight));
      }
    }
    return weights;
  };
  return source;
}

}  // namespace galapagos
