#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// What is left of a layer: its query heads, each with the KV head it attends with, and its feed-forward
/// columns.
struct LayerShape {
  std::int64_t kv_heads = 0;
  std::vector<std::int32_t> kv_of_head;  ///< one entry per query head
  std::int64_t columns = 0;

  std::int64_t heads() const { return static_cast<std::int64_t>(kv_of_head.size()); }
};

/// The layer of an unpruned model: every run of heads / kv_heads query heads shares a KV head.
LayerShape dense_layer_shape(const HfConfig& config);

/// A layer's weights as in the checkpoint, [out, in]. Biases are empty where the model has none.
struct LayerWeights {
  LayerShape shape;
  OwnedTensor attention_norm, q, k, v, o, q_bias, k_bias, v_bias;
  OwnedTensor ffn_norm, gate, up, down;
};

/// Names in the checkpoint: "model.layers.3.mlp.down_proj" and so on, without ".weight".
std::string attention_output_name(std::int64_t layer);
std::string ffn_output_name(std::int64_t layer);

/// Reads one layer of an unpruned model, its matrices stored as `precision`. InputError where a tensor is
/// missing, has another shape than config.json says, or holds NaN or infinity.
LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        DType precision, Device device);

/// The token embedding [vocabulary, hidden].
OwnedTensor load_embedding(const Checkpoint& checkpoint, const HfConfig& config, DType precision,
                           Device device);

/// What follows the last layer: the final norm and the output head [vocabulary, hidden], which may be the
/// embedding.
struct HeadWeights {
  OwnedTensor norm;
  OwnedTensor head;
};
HeadWeights load_head(const Checkpoint& checkpoint, const HfConfig& config, DType precision, Device device);

/// Parameters of a layer, of the embedding and of the head (0 where tied); norms and biases included.
std::int64_t layer_parameters(const HfConfig& config, const LayerShape& shape);
std::int64_t embedding_parameters(const HfConfig& config);
std::int64_t head_parameters(const HfConfig& config);

}  // namespace galapagos
