#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include <galapagos/model/rope.hpp>
#include <galapagos/model/shards.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// How many there are of what a layer's activations are as wide as.
struct LayerWidths {
  std::int64_t heads = 0, kv_heads = 0, columns = 0;

  static LayerWidths of(const LayerShape& shape) { return {shape.heads(), shape.kv_heads, shape.columns}; }
};

/// What the forward pass of a layer leaves, for at most `most_tokens` tokens; gate and up before the
/// activation, q and k after the rotation.
struct LayerBuffers {
  OwnedTensor q, k, v, mixed, gate, up;
  OwnedTensor q_in, k_in;  ///< before the norms of heads, where there are such and a way back needs them

  LayerBuffers(const ops::Context& context, const HfConfig& config, const LayerWidths& widths,
               std::int64_t most_tokens, bool for_backward = false);
};

/// The forward pass of a layer in steps, or on each of several shards of its part of it; alone or with what
/// training keeps of it.
class LayerSteps {
 public:
  /// The references must outlive this.
  LayerSteps(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
             const Shards& shards);

  /// hidden [t, hidden_size] fp32 += the attention of its norm; nothing where there are no heads on any
  /// shard. `tap` sees the input of o_proj; log_sums [t, heads] as for ops::attention.
  void attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets, const Tensor& hidden,
                 const LayerBuffers& buffers, const Tensor& log_sums = {},
                 const std::function<void(const Tensor& input)>& tap = {});
  /// gate and up from the norm of hidden; nothing where this shard has no columns.
  void gate_and_up(const FfnWeights& weights, const Tensor& hidden, const LayerBuffers& buffers);

  /// hidden [t, hidden_size] fp32 += x weight^T, summed over the shards, + bias, where there is one; the norm
  /// last made is overwritten.
  void add_product(const Tensor& x, const Tensor& weight, const OwnedTensor& bias, const Tensor& hidden);

  /// The norm of x [t, hidden_size] fp32, until the next.
  Tensor normed_of(const Tensor& x, const Tensor& weight);
  const Rope& rope() const { return rope_; }

 private:
  const ops::Context& context_;
  const Shards& shards_;
  HfConfig config_;
  Rope rope_;
  OwnedTensor normed_;  // a norm, and once that is used what shards sum up
};

}  // namespace galapagos
