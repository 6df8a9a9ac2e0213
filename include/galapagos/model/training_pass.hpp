#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/model/layer_pass.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/output_pass.hpp>
#include <galapagos/model/training_loss.hpp>

namespace galapagos {

/// Predicted tokens of a batch: all but the last of each sequence predict the one after them.
std::int64_t predicted_tokens(std::span<const std::int64_t> offsets);
/// `weight` for each token of a batch that predicts one that counts in a loss, 0 for the others.
std::vector<float> token_weights(const Batch& batch, float weight);

/// Forward and backward through a whole model, or on each of several shards through its part of it. Holds the
/// activations of a batch of at most `most_tokens` tokens: of all layers, or with `recompute` only what goes
/// into each layer, from which the layer is computed again on the way back (activation checkpointing, Chen et
/// al. 2016). The references must outlive this.
class TrainingPass {
 public:
  TrainingPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens, bool recompute,
               const Shards& shards = alone(), const TrainingLoss& loss = {});

  /// Bytes that this holds on that device, with activations of that type.
  static std::uint64_t bytes(const HfConfig& config, std::int64_t most_tokens, bool recompute, Device device,
                             DType activations = DType::f32, const TrainingLoss& loss = {});

  /// The sums of the losses over the batch's predicted tokens that count; `reference` is asked for what the
  /// loss needs of it. Adds the gradients of weight * sum to `gradients`, of which what is empty is not asked
  /// for. Where a loss is NaN or infinite the sums are returned as they are, and the gradients are worth
  /// nothing.
  LossSums run(const ModelWeights& weights, const Batch& batch, float weight,
               const ReferenceAnswer& reference, const Gradients& gradients);

 private:
  void add_output_losses(const ModelWeights& weights, const Batch& batch, std::span<const float> each,
                         const ReferenceAnswer& reference, const Tensor& hidden, const Tensor& d_hidden,
                         const Gradients& gradients, LossSums& sums);
  void add_hidden_loss(std::int64_t layer, std::span<const float> each, const ReferenceAnswer& reference,
                       const Tensor& after, const Tensor& d_after, LossSums& sums);

  const ops::Context& context_;
  const Shards& shards_;
  const HfConfig& config_;
  bool recompute_;
  LayerPass layers_;
  OutputPass output_;
  std::vector<OwnedTensor> before_;  // what goes into each layer [most_tokens, hidden]
  std::vector<LayerTape> tapes_;     // of each layer, or one for all
  OwnedTensor hidden_, d_hidden_;
  TrainingLoss loss_;
  LogitLosses losses_;
  OwnedTensor text_logits_;  // where both losses of logits are asked for
};

}  // namespace galapagos
