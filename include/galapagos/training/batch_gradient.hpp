#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/io/token_source.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/model/training_pass.hpp>

namespace galapagos {

/// The model that a training learns from: its hidden states and logits for the training's batches.
class Teacher {
 public:
  /// `most_tokens` of a batch; `source` may be a shard's part of the model; `layers`: those after which its
  /// residual stream is compared. The references must outlive this.
  Teacher(const ops::Context& context, const ModelSource& source, std::int64_t most_tokens,
          const Shards& shards = alone(), std::vector<std::int64_t> layers = {});

  /// Bytes of it, weights included.
  static std::uint64_t bytes(const ModelSource& source, std::int64_t most_tokens, Device device,
                             DType activations = DType::f32, std::span<const std::int64_t> layers = {});

  /// Computes the batch's hidden states and gives its logits from the last ones, once for each token; valid
  /// until the next call.
  ReferenceAnswer answer(const Batch& batch);

 private:
  const ops::Context& context_;
  const Shards& shards_;
  HfConfig config_;
  ModelWeights weights_;
  std::vector<std::int64_t> layers_;
  ForwardBuffers buffers_;  // the states, then those of each compared layer but a last one
};

/// The sums of the losses of all predicted tokens of `sequences` that count, in batches of at most
/// `batch_tokens`; adds the gradients of weight * sum to `gradients`. Stops at a batch whose loss is NaN or
/// infinite and returns that; returns nothing where `stop` says so between two batches.
std::optional<LossSums> add_gradients(TrainingPass& pass, const ModelWeights& weights,
                                      const TokenSet& sequences, std::int64_t batch_tokens, float weight,
                                      Teacher* teacher, const Gradients& gradients,
                                      const std::function<bool()>& stop = {});

/// The sum of the negative log-likelihoods of all predicted tokens of `sequences` that count, in batches of
/// at most `batch_tokens`.
double sum_nll(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
               const TokenSet& sequences, std::int64_t batch_tokens, const Shards& shards = alone());
/// Bytes that it takes where no batch has more than `most_tokens`.
std::uint64_t nll_bytes(const HfConfig& config, std::int64_t most_tokens, Device device, DType activations);

}  // namespace galapagos
