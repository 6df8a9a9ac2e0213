#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos {
namespace {

OwnedTensor copy(const Tensor& tensor) {
  return copy_of(tensor, tensor.device, "a candidate's weights");
}

void copy_tensors(const auto& from, auto& to) {
  for (const auto& [spec, weight, gradient] : tensors_of(from)) to.*weight = copy(from.*weight);
}

AttentionWeights copy(const AttentionWeights& attention) {
  AttentionWeights own;
  own.kind = attention.kind;
  own.kv_heads = attention.kv_heads;
  own.kv_of_head = attention.kv_of_head;
  copy_tensors(attention, own);
  return own;
}

FfnWeights copy(const FfnWeights& ffn) {
  FfnWeights own;
  own.columns = ffn.columns;
  copy_tensors(ffn, own);
  return own;
}

/// A compact weight [hidden, width >= kept] with zeros in the columns between: [hidden, columns].
OwnedTensor with_zeros(const ops::Context& context, const OwnedTensor& compact, const Tensor& dense,
                       std::span<const std::int64_t> kept) {
  const std::int64_t count = compact->empty() ? 0 : compact->columns();
  const std::int64_t hidden = dense.rows(), columns = dense.columns();
  const auto matrix = [&](std::int64_t rows, std::int64_t width) {
    return OwnedTensor({rows, width}, dense.dtype, context.device(), "a candidate's weights");
  };
  const OwnedTensor table = matrix(count + 1, hidden);  // the last row is zero
  fill_zero(table);
  if (count > 0) ops::transpose(context, compact, table->slice(0, count));
  std::vector<std::int64_t> rows(static_cast<std::size_t>(columns), count);
  for (std::size_t i = 0; i < kept.size(); ++i)
    rows[static_cast<std::size_t>(kept[i])] = static_cast<std::int64_t>(i);
  const OwnedTensor spread = matrix(columns, hidden);
  ops::gather_rows(context, table, rows, spread);
  OwnedTensor weight = matrix(hidden, columns);
  ops::transpose(context, spread, weight);
  return weight;
}

}  // namespace

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
    weight = with_zeros(context_, compact, weight, kept);
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

}  // namespace galapagos
