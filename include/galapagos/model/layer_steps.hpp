#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>

#include <galapagos/model/kv_cache.hpp>
#include <galapagos/model/mixture_steps.hpp>
#include <galapagos/model/rope.hpp>
#include <galapagos/model/shards.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// How many there are of what a layer's activations are as wide as.
struct LayerWidths {
  std::int64_t heads = 0, kv_heads = 0, columns = 0, experts = 0;

  static LayerWidths of(const HfConfig& config, const LayerShape& shape) {
    return {shape.heads(), shape.kv_heads, ffn_width(config, shape), std::ssize(shape.experts)};
  }
};

/// What the forward pass of a layer leaves, for at most `most_tokens` tokens; gate and up before the
/// activation, q and k after the rotation.
struct LayerBuffers {
  OwnedTensor q, k, v, mixed, gate, up;
  OwnedTensor q_in, k_in;  ///< before the norms of heads, where there are such and a way back needs them
  /// What o_proj and down_proj put out, [t, hidden_size] fp32, where norms follow: each its own where a way
  /// back needs them, and otherwise both in the first.
  OwnedTensor attention_output, ffn_output;
  /// In a mixture where its tokens went, by which gate and up are laid out.
  std::shared_ptr<Routing> routing;

  Tensor output_of_attention(std::int64_t tokens) const;
  Tensor output_of_ffn(std::int64_t tokens) const;

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
  /// The same of rows that go on with texts of a cache, into which their keys and values go.
  void attention(const AttentionWeights& weights, const CachedLayer& cached, const Tensor& hidden,
                 const LayerBuffers& buffers);
  /// gate and up from the norm of hidden; nothing where this shard has no columns.
  void gate_and_up(const FfnWeights& weights, const Tensor& hidden, const LayerBuffers& buffers);

  /// f(gate) * up by the family's f, in the memory of `out`: what goes into down_proj; nothing where this
  /// shard has no columns. `tap` sees it, in a mixture `expert_tap`.
  Tensor activate(const FfnWeights& weights, const LayerBuffers& buffers, std::int64_t tokens,
                  const Tensor& out, const std::function<void(const Tensor& input)>& tap = {},
                  const ExpertTap& expert_tap = {});
  /// hidden += the output of the feed-forward part, of what activate() gave.
  void add_ffn_output(const FfnWeights& weights, const LayerBuffers& buffers, const Tensor& active,
                      const Tensor& hidden, const ExpertTap& tap = {});
  /// Of layers that are mixtures.
  MixtureSteps& mixture() { return mixture_.value(); }

  /// hidden [t, hidden_size] fp32 += x weight^T, summed over the shards, + bias, where there is one; the norm
  /// last made is overwritten. Where the family has a norm behind it, the sum goes to `output`
  /// (LayerBuffers), and its norm is added.
  void add_product(const Tensor& x, const Tensor& weight, const OwnedTensor& bias, const Tensor& post_norm,
                   const Tensor& hidden, const Tensor& output);
  /// The two steps of the latter.
  void put_out(const Tensor& x, const Tensor& weight, const OwnedTensor& bias, const Tensor& output);
  void add_norm(const Tensor& output, const Tensor& post_norm, const Tensor& hidden);

  /// The norm of x [t, hidden_size] fp32, until the next.
  Tensor normed_of(const Tensor& x, const Tensor& weight);
  /// What turns the heads of such a layer; nullptr where nothing does.
  const Rope* rope_of(const AttentionKind& kind) const;

 private:
  /// Turns q and k, and mixes the values: what lies between the norms of heads and o_proj.
  using Mix = std::function<void(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mixed)>;
  void attend(const AttentionWeights& weights, const Tensor& hidden, const LayerBuffers& buffers,
              const Mix& mix);

  const ops::Context& context_;
  const Shards& shards_;
  HfConfig config_;
  Rope rope_;
  std::optional<Rope> local_rope_;
  std::optional<MixtureSteps> mixture_;
  OwnedTensor normed_;  // a norm, and once that is used what shards sum up
};

}  // namespace galapagos
