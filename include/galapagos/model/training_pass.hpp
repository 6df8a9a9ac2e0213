#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/model/forward.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/model_weights.hpp>

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

  /// Bytes that this holds.
  static std::uint64_t bytes(const HfConfig& config, std::int64_t most_tokens, bool recompute);

  /// The sum over the batch's predicted tokens of the cross entropy, or with `reference` of KL(reference ||
  /// model) over the whole vocabulary. Adds the gradients of weight * sum to `gradients`. NaN or infinity is
  /// returned as it is, without gradients.
  double run(const ModelWeights& weights, const Batch& batch, float weight, const ReferenceLogits& reference,
             const Gradients& gradients);

 private:
  /// What backward needs of a layer; gate and up before the activation, q and k after the rotation.
  struct Tape {
    OwnedTensor q, k, v, mixed, log_sums, between, gate, up;
  };

  /// The layer's forward pass but for its last product: on the way back nobody needs what comes out.
  void fill_tape(const LayerWeights& weights, std::span<const std::int64_t> offsets, const Tape& tape,
                 const Tensor& hidden);
  Tensor activate(const FfnWeights& weights, const Tape& tape, std::int64_t tokens);
  void backward(const LayerWeights& weights, std::span<const std::int64_t> offsets, const Tape& tape,
                const Tensor& before, const Tensor& d_hidden, const LayerGradients& gradients);
  void backward_ffn(const FfnWeights& weights, const Tape& tape, const Tensor& d_hidden,
                    const LayerGradients& gradients);
  void backward_attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                          const Tape& tape, const Tensor& before, const Tensor& d_hidden,
                          const LayerGradients& gradients);
  void finish_backward(const Tensor& x, const Tensor& norm, const Tensor& d_hidden, const Tensor& d_norm,
                       const std::function<void()>& meanwhile);
  double loss(const ModelWeights& weights, const Batch& batch, float weight, const ReferenceLogits& reference,
              const Tensor& hidden, const Tensor& d_hidden, const Gradients& gradients);
  Tensor normed_of(const Tensor& x, const Tensor& weight);

  const ops::Context& context_;
  const Shards& shards_;
  const HfConfig& config_;
  bool recompute_;
  OwnedTensor frequencies_;
  std::vector<OwnedTensor> before_;  // what goes into each layer [most_tokens, hidden]
  std::vector<Tape> tapes_;          // of each layer, or one for all
  OwnedTensor hidden_, d_hidden_, normed_, d_normed_;
  OwnedTensor wide_, d_mixed_, d_q_, d_k_, d_v_;
  OwnedTensor logits_;
  LogitLosses losses_;
};

}  // namespace galapagos
