#pragma once

#include <span>
#include <vector>

#include <galapagos/model/forward.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/sequence_score.hpp>
#include <galapagos/model/source.hpp>

namespace galapagos {

/// The model and, where there is one, the reference that it is compared with; where there are shards, their
/// parts.
using Models = std::vector<const ModelSource*>;

/// What a model's last hidden states say of the tokens that come next: logits for some tokens at a time.
class Scorer {
 public:
  Scorer(const ops::Context& context, const Models& models, const Shards& shards);

  static std::uint64_t bytes(const Models& models, Device device, DType activations);

  /// Collective over the shards. The scores of a batch's sequences from the models' hidden states, which are
  /// changed; `unscored` holds the tokens of each that are only context.
  std::vector<SequenceScore> score(const Batch& batch, std::span<const Tensor> hidden,
                                   std::span<const std::int64_t> unscored);

 private:
  const ops::Context& context_;
  const Models& models_;
  std::vector<HeadWeights> heads_;
  LogitBuffers buffers_;
};

}  // namespace galapagos
