#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <galapagos/ops/hidden_loss.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// How far a reference's probabilities and a model's are apart: KL(reference || model), or the total
/// variation distance, see ops::total_variation.
enum class ReferenceLoss : std::uint8_t { kl, total_variation };

/// What a training makes small, of each predicted token: text * -log p(token) + logits * T^2 times how far
/// the reference's probabilities and the model's are apart, both at temperature T (Hinton et al. 2015), +
/// hidden * the mean of the losses of hidden states over the compared layers + router * the RouterBalance of
/// the batch.
struct TrainingLoss {
  double text = 1, logits = 0, hidden = 0, router = 0;  ///< weights; what has none is not computed
  double temperature = 1;
  ReferenceLoss reference_loss = ReferenceLoss::kl;
  ops::HiddenLoss hidden_loss = ops::HiddenLoss::cosine;
  std::vector<std::int64_t> layers;  ///< after which the residual stream is compared, ascending

  /// Of the reference's probabilities alone.
  static TrainingLoss of_reference(ReferenceLoss kind = ReferenceLoss::kl) {
    TrainingLoss loss;
    loss.text = 0, loss.logits = 1, loss.reference_loss = kind;
    return loss;
  }
};

/// Sums over tokens of a loss and its parts, these without their weights.
struct LossSums {
  double all = 0;
  double text = 0, logits = 0, hidden = 0, router = 0;

  LossSums& operator+=(const LossSums& other) {
    all += other.all, text += other.text, logits += other.logits, hidden += other.hidden;
    router += other.router;
    return *this;
  }
};

/// Logits [count, vocabulary] fp32 of a reference model, or a shard's slice of them, for tokens [first, first
/// + count) of the batch in work.
using ReferenceLogits = std::function<void(std::int64_t first, const Tensor& logits)>;

/// What a reference model says of a batch: its logits, and its residual stream [t, hidden] fp32 after each of
/// the compared layers.
struct ReferenceAnswer {
  ReferenceLogits logits;
  std::vector<Tensor> hidden;
};

}  // namespace galapagos
