#include "weight_copies.hpp"

#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos {

HfConfig Replica::config_of(const Assignment& assignment, bool unmasked) const {
  if (unmasked) return config_;
  HfConfig config = galapagos::config_of(part_, assignment);
  for (std::size_t layer = 0; layer < dense_.size(); ++layer) {
    std::int64_t& columns = config.layer_shapes[layer].columns;
    columns = padded_columns(columns, dense_[layer].ffn.columns);
  }
  return config;
}

ModelWeights Replica::weights_of(const Assignment& assignment, bool unmasked) {
  const std::vector<std::shared_ptr<const BuiltModule>> modules = switch_to(assignment, 0, assignment.size());
  ModelWeights weights;
  weights.layers.resize(dense_.size());
  // What is pruned of a dense module becomes zeros; of one that is gone its bias, too.
  const auto mask = [&](OwnedTensor& weight, const OwnedTensor& bias, const OwnedTensor& compact,
                        std::span<const std::int64_t> kept) {
    weight = with_zeros(context_, compact, weight->rows(), weight->columns(), weight->dtype, kept);
    if (kept.empty() && !bias->empty()) fill_zero(bias);
  };
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const ModuleChoices& choices = space_.modules[i];
    const LayerWeights& dense = dense_[static_cast<std::size_t>(choices.id.layer)];
    LayerWeights& own = weights.layers[static_cast<std::size_t>(choices.id.layer)];
    const BuiltModule* built = modules[i].get();
    const std::span<const std::int64_t> kept = choices.kept[static_cast<std::size_t>(assignment[i])];
    if (choices.id.kind == ModuleKind::attention) {
      own.attention = copy(built != nullptr && !unmasked ? built->attention : dense.attention);
      if (built != nullptr && unmasked) mask(own.attention.o, own.attention.o_bias, built->attention.o, kept);
    } else {
      own.ffn = copy(built != nullptr && !unmasked ? built->ffn : dense.ffn);
      if (built != nullptr && unmasked) mask(own.ffn.down, own.ffn.down_bias, built->ffn.down, kept);
    }
  }
  weights.embedding = copy(embedding_);
  weights.norm = copy(head_.norm);
  if (!config_.tie_word_embeddings) weights.head = copy(head_.head);
  return weights;
}

std::unique_ptr<RelaxedModel> Replica::relaxed(const Fitness& fitness, std::int64_t most_tokens,
                                               bool recompute) {
  return std::make_unique<RelaxedModel>(context_, part_, dense_, embedding_, head_, cache_, most_tokens,
                                        recompute, fitness, shards_);
}

}  // namespace galapagos
