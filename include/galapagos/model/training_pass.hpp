#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/model/layer_pass.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/output_pass.hpp>

namespace galapagos {

/// Logits [count, vocabulary] fp32 of a reference model, or a shard's slice of them, for tokens [first, first
/// + count) of the batch in work.
using ReferenceLogits = std::function<void(std::int64_t first, const Tensor& logits)>;

/// Predicted tokens of a batch: all but the last of each sequence predict the one after them.
std::int64_t predicted_tokens(std::span<const std::int64_t> offsets);

/// Forward and backward through a whole model, or on each of several shards through its part of it. Holds the
/// activations of a batch of at most `most_tokens` tokens: of all layers, or with `recompute` only what goes
/// into each layer, from which the layer is computed again on the way back (activation checkpointing, Chen et
/// al. 2016). The references must outlive this.
class TrainingPass {
 public:
  TrainingPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens, bool recompute,
               const Shards& shards = alone());

  /// Bytes that this holds on that device, with activations of that type.
  static std::uint64_t bytes(const HfConfig& config, std::int64_t most_tokens, bool recompute, Device device,
                             DType activations = DType::f32);

  /// The sum over the batch's predicted tokens of the cross entropy, or with `reference` of KL(reference ||
  /// model) over the whole vocabulary. Adds the gradients of weight * sum to `gradients`. NaN or infinity is
  /// returned as it is, without gradients.
  double run(const ModelWeights& weights, const Batch& batch, float weight, const ReferenceLogits& reference,
             const Gradients& gradients);

 private:
  double loss(const ModelWeights& weights, const Batch& batch, float weight, const ReferenceLogits& reference,
              const Tensor& hidden, const Tensor& d_hidden, const Gradients& gradients);

  const ops::Context& context_;
  const Shards& shards_;
  const HfConfig& config_;
  bool recompute_;
  LayerPass layers_;
  OutputPass output_;
  std::vector<OwnedTensor> before_;  // what goes into each layer [most_tokens, hidden]
  std::vector<LayerTape> tapes_;     // of each layer, or one for all
  OwnedTensor hidden_, d_hidden_;
  LogitLosses losses_;
};

}  // namespace galapagos
