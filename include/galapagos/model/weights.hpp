#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/layer_tensors.hpp>
#include <galapagos/model/partition.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// The attention of a layer, weights [out, in] as in the checkpoint; biases are empty where the model has
/// none, everything is where there are no heads. A shard that has no heads, where others have some, has what
/// is not dealt among shards, norms and the bias of the output: it takes part in their gradients.
struct AttentionWeights : AttentionTensors<OwnedTensor> {
  AttentionKind kind;
  std::int64_t kv_heads = 0;
  std::vector<std::int32_t> kv_of_head;  ///< one entry per query head

  std::int64_t heads() const { return static_cast<std::int64_t>(kv_of_head.size()); }
  /// Whether there is any, on this or another shard.
  bool present() const { return !norm->empty(); }
};

/// An expert of a mixture; everything is empty where a shard has none of its columns.
struct ExpertWeights : ExpertTensors<OwnedTensor> {
  std::int64_t columns = 0;
};

/// The feed-forward part of a layer; empty where there are no columns (a shard then as above). A mixture has
/// a router and experts, which candidates of a search may share.
struct FfnWeights : FfnTensors<OwnedTensor> {
  std::int64_t columns = 0;  ///< of all experts together in a mixture
  std::vector<std::shared_ptr<const ExpertWeights>> experts;

  bool present() const { return !input_norm()->empty(); }
  bool mixture() const { return !experts.empty(); }
};

struct LayerWeights {
  AttentionWeights attention;
  FfnWeights ffn;
};

/// A part of a layer of tensors that `make` gives, with what the layer, or the expert that they belong to,
/// and the part have of each axis.
using MakeTensor = std::function<OwnedTensor(const TensorSpec& spec, std::int64_t expert,
                                             const Extents& whole, const Extents& own)>;
LayerWeights make_layer(const HfConfig& config, std::int64_t layer, const LayerPart& part,
                        const MakeTensor& make);

/// Reads one layer, its matrices stored as `precision`. InputError where a tensor is missing, has another
/// shape than config.json says, or holds NaN or infinity.
LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        DType precision, Device device);
/// Only a part of the layer, read from its slabs of the tensors.
LayerWeights load_layer(const Checkpoint& checkpoint, const HfConfig& config, std::int64_t layer,
                        const LayerPart& part, DType precision, Device device);

/// Rows of the token embedding [vocabulary, hidden].
OwnedTensor load_embedding(const Checkpoint& checkpoint, const HfConfig& config, const Range& ids,
                           DType precision, Device device);
inline OwnedTensor load_embedding(const Checkpoint& checkpoint, const HfConfig& config, DType precision,
                                  Device device) {
  return load_embedding(checkpoint, config, {0, config.vocab_size}, precision, device);
}

/// What follows the last layer: the final norm and rows of the output head [vocabulary, hidden], which may be
/// the embedding.
struct HeadWeights {
  OwnedTensor norm;
  OwnedTensor head;
};
HeadWeights load_head(const Checkpoint& checkpoint, const HfConfig& config, const Range& ids, DType precision,
                      Device device);
inline HeadWeights load_head(const Checkpoint& checkpoint, const HfConfig& config, DType precision,
                             Device device) {
  return load_head(checkpoint, config, {0, config.vocab_size}, precision, device);
}

/// Parameters of attention, of the feed-forward part (each 0 where nothing is left of it), of a layer, of the
/// embedding and of the head (only the norm where it is tied); norms and biases included.
std::int64_t attention_parameters(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads);
std::int64_t ffn_parameters(const HfConfig& config, std::int64_t columns);
/// Of a mixture, and of an expert with its row of the router.
std::int64_t mixture_parameters(const HfConfig& config, std::span<const std::int64_t> experts);
std::int64_t expert_parameters(const HfConfig& config, std::int64_t columns);
std::int64_t layer_parameters(const HfConfig& config, const LayerShape& shape);
/// The sum over all layers.
std::int64_t parameters_in_layers(const HfConfig& config);
std::int64_t embedding_parameters(const HfConfig& config);
std::int64_t head_parameters(const HfConfig& config);
/// Of what no layer has: embedding and head; and of all.
std::int64_t parameters_outside_layers(const HfConfig& config);
std::int64_t parameters_in_model(const HfConfig& config);

}  // namespace galapagos
