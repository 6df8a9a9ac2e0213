#pragma once

#include <cstdint>
#include <span>

#include <galapagos/model/forward.hpp>
#include <galapagos/model/kv_cache.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/model_weights.hpp>

namespace galapagos {

/// How many texts a cached model holds at a time, of how many tokens each, and how many tokens it is given at
/// once.
struct CacheExtents {
  std::int64_t places = 1, capacity = 1, most_tokens = 1;
};

/// What a model goes on with texts with, beside its weights.
struct CachedBuffers {
  KvCache cache;
  LayerForward layers;
  OwnedTensor hidden, last;
  LogitBuffers logits;

  /// The references must outlive this.
  CachedBuffers(const ops::Context& context, const HfConfig& config, const CacheExtents& extents,
                const Shards& shards);
};

/// A model, or a shard's part of it, that is given texts piece by piece and says what comes next.
class CachedModel {
 public:
  /// `config`: with the shapes of the weights. The references must outlive this.
  CachedModel(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
              const CacheExtents& extents, const Shards& shards = alone());

  /// Bytes of weights and buffers, and of what a step holds besides.
  static std::uint64_t bytes(const ModelSource& source, const CacheExtents& extents, Device device,
                             DType activations);

  /// Collective over the shards. Takes the tokens of some texts' rows, all positions before which were given
  /// before; the logits [texts, vocabulary, or the shard's slice of it] behind the last row of each, until
  /// the next step. Places of the cache may be given to another text, which begins at 0.
  Tensor step(std::span<const std::int32_t> tokens, const TextRows& texts);

  /// Whether the last step's logits, and the hidden states that they are of, are numbers.
  bool finite() const;
  /// Of which each has the logits of its slice of the vocabulary.
  const Shards& shards() const { return shards_; }
  /// Of the last step's logits.
  LogitLosses& losses() { return buffers_.logits.losses; }

 private:
  const ops::Context& context_;
  const Shards& shards_;
  HfConfig config_;
  const ModelWeights& weights_;
  CachedBuffers buffers_;
  std::int64_t texts_ = 0;  // of the last step
};

}  // namespace galapagos
