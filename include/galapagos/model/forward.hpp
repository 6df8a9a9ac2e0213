#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/io/token_source.hpp>
#include <galapagos/model/layer_steps.hpp>
#include <galapagos/ops/factor.hpp>

namespace galapagos {

/// Whole sequences laid end to end: sequence s is tokens [offsets[s], offsets[s + 1]).
struct Batch {
  std::span<const std::int32_t> tokens;
  std::vector<std::int64_t> offsets;
  std::span<const std::uint8_t> in_loss = {};  ///< as TokenSet's
};

/// Deals sequences, given end to end with their offsets, into batches of at most `most_tokens` tokens, in
/// order; a longer sequence is a batch of its own.
std::vector<Batch> make_batches(std::span<const std::int32_t> tokens, std::span<const std::uint64_t> offsets,
                                std::int64_t most_tokens);
std::vector<Batch> make_batches(const TokenSet& sequences, std::int64_t most_tokens);

/// Uninitialised hidden states of a batch, [tokens, hidden_size] fp32.
OwnedTensor hidden_states(const ops::Context& context, const HfConfig& config, std::int64_t tokens);

/// The inputs of a layer's two pruned products, of the type of activations, shown as they pass: of o_proj [t,
/// heads * head_dim] and of down_proj [t, columns]; of experts also what they put out. Any may be empty.
struct LayerTaps {
  std::function<void(const Tensor& input)> attention_output;
  std::function<void(const Tensor& input)> ffn_output;
  ExpertTap expert_input = {}, expert_output = {};  ///< of a mixture
};

/// The forward pass of single layers, or on each of several shards of its part of them; holds the activations
/// between operations for at most `most_tokens` tokens.
class LayerForward {
 public:
  /// The references must outlive this.
  LayerForward(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
               const Shards& shards = alone());

  /// hidden [t, hidden_size] fp32 becomes the layer's output.
  void run(const LayerWeights& weights, std::span<const std::int64_t> offsets, const Tensor& hidden,
           const LayerTaps& taps = {});
  /// The same of rows that go on with texts of a cache.
  void run(const LayerWeights& weights, const CachedLayer& cached, const Tensor& hidden);

  /// Half a layer each; nothing changes where it has no heads or no columns.
  void attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets, const Tensor& hidden,
                 const std::function<void(const Tensor& input)>& tap = {});
  void feed_forward(const FfnWeights& weights, const Tensor& hidden,
                    const std::function<void(const Tensor& input)>& tap = {},
                    const ExpertTap& expert_tap = {}, const ExpertTap& output_tap = {});

 private:
  const ops::Context& context_;
  const Shards& shards_;
  LayerSteps steps_;
  LayerBuffers buffers_;
};

/// logits [t, vocabulary] fp32 = what the head makes of normed states [t, hidden_size], with the family's
/// cap.
void head_logits(const ops::Context& context, const HfConfig& config, const ops::Factor& normed,
                 const Tensor& head, const Tensor& logits);
/// The same from hidden [t, hidden_size] fp32, whose norm it holds meanwhile, with the
/// final norm's weight and the head [vocabulary, hidden_size].
void compute_logits(const ops::Context& context, const HfConfig& config, const Tensor& norm,
                    const Tensor& head, const Tensor& hidden, const Tensor& logits);
/// What it holds meanwhile, for logits of t tokens: [t, hidden_size] of the type of activations.
OwnedTensor logits_scratch(const ops::Context& context, const HfConfig& config, std::int64_t tokens);
inline void compute_logits(const ops::Context& context, const HfConfig& config, const HeadWeights& head,
                           const Tensor& hidden, const Tensor& logits) {
  compute_logits(context, config, head.norm, head.head, hidden, logits);
}

}  // namespace galapagos
