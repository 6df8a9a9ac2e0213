#include "weight_copies.hpp"

#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos {

HfConfig Replica::config_of(const Assignment& assignment, bool unmasked) const {
  if (unmasked) return config_;
  HfConfig config = galapagos::config_of(part_, assignment);
  for (std::size_t layer = 0; layer < dense_.size(); ++layer) {
    LayerShape& shape = config.layer_shapes[layer];
    if (!shape.mixture()) shape.columns = padded_columns(shape.columns, dense_[layer].ffn.columns);
  }
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    const ModuleChoices& choices = space_.modules[i];
    if (choices.id.expert != 0) continue;
    LayerShape& shape = config.layer_shapes[static_cast<std::size_t>(choices.id.layer)];
    const auto& experts = dense_[static_cast<std::size_t>(choices.id.layer)].ffn.experts;
    shape.columns = 0;
    std::size_t place = 0;
    for (std::size_t expert = 0; expert < experts.size(); ++expert) {
      if (space_.modules[i + expert].gone[static_cast<std::size_t>(assignment[i + expert])]) continue;
      std::int64_t& columns = shape.experts[place++];
      columns = padded_columns(columns, experts[expert]->columns);
      shape.columns += columns;
    }
  }
  return config;
}

FfnWeights Replica::mixture_of(std::int64_t layer,
                               std::span<const std::shared_ptr<const BuiltModule>> built) const {
  const FfnWeights& dense = dense_[static_cast<std::size_t>(layer)].ffn;
  std::vector<std::shared_ptr<const ExpertWeights>> experts = dense.experts;
  for (std::size_t expert = 0; expert < experts.size(); ++expert)
    if (built[expert]) experts[expert] = built[expert]->expert;
  return with_experts(context_, dense, std::move(experts));
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
    const auto level = static_cast<std::size_t>(assignment[i]);
    if (choices.id.expert != no_expert) {
      if (choices.id.expert != 0) continue;
      own.ffn = copy(mixture_of(choices.id.layer, std::span(modules).subspan(i, dense.ffn.experts.size())));
    } else if (choices.id.kind == ModuleKind::attention) {
      own.attention = copy(built != nullptr && !unmasked ? built->attention : dense.attention);
      if (built != nullptr && unmasked)
        mask(own.attention.o, own.attention.o_bias, built->attention.o, choices.kept[level]);
    } else {
      own.ffn = copy(built != nullptr && !unmasked ? built->ffn : dense.ffn);
      if (built != nullptr && unmasked)
        mask(own.ffn.down, own.ffn.down_bias, built->ffn.down, choices.kept[level]);
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
