#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include <galapagos/model/forward.hpp>
#include <galapagos/model/model_weights.hpp>

namespace galapagos {

/// As wide as the widest parts of any layer.
LayerWidths widest_layer(const HfConfig& config);

/// What the way back through a layer needs of the way there, for at most `most_tokens` tokens.
struct LayerTape : LayerBuffers {
  OwnedTensor log_sums;
  OwnedTensor between;  ///< the two parts

  LayerTape(const ops::Context& context, const HfConfig& config, const LayerWidths& widths,
            std::int64_t most_tokens);
  LayerTape(const ops::Context& context, const HfConfig& config, const LayerShape& shape,
            std::int64_t most_tokens)
      : LayerTape(context, config, LayerWidths::of(config, shape), most_tokens) {}
};

/// The gradients by what a layer's o_proj and down_proj put out, [t, hidden] fp32, shown as they pass; where
/// the layer has no such part, by what it would add to the hidden states. Either may be empty.
struct GradientTaps {
  std::function<void(const Tensor&gradient)> attention, ffn;
};

/// The way through single layers and back, or on each of several shards through its part of them. Holds what
/// lies between operations for at most `most_tokens` tokens. The references must outlive this.
class LayerPass {
 public:
  LayerPass(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
            const Shards& shards = alone());

  /// The layer's forward pass but for its last product: on the way back nobody needs what comes out. hidden
  /// [t, hidden_size] becomes what lies between its two parts.
  void fill_tape(const LayerWeights& weights, std::span<const std::int64_t> offsets, const LayerTape& tape,
                 const Tensor& hidden);
  /// For another way back on the same tape: makes again what backward() has spoilt of it.
  void refill_tape(const LayerWeights& weights, const LayerTape& tape, std::int64_t tokens);
  /// The last product, after fill_tape(): hidden becomes the layer's output.
  void finish(const LayerWeights& weights, const LayerTape& tape, const Tensor& hidden);

  /// From the gradient by the layer's output, d_hidden [t, hidden_size], to that by its input, `before`, in
  /// place; spoils the tape. Adds the gradients of its parameters to `gradients`, of which what is empty is
  /// not asked for.
  void backward(const LayerWeights& weights, std::span<const std::int64_t> offsets, const LayerTape& tape,
                const Tensor& before, const Tensor& d_hidden, const LayerGradients& gradients,
                const GradientTaps& taps = {});

 private:
  Tensor by_output(const Tensor& output, const Tensor& post_norm, const Tensor& d_hidden,
                   const Tensor& d_post_norm);
  void backward_ffn(const FfnWeights& weights, const LayerTape& tape, const Tensor& d_output,
                    const Tensor& d_hidden, const FfnTensors<Tensor>& gradients);
  void backward_mixture(const FfnWeights& weights, const LayerTape& tape, const Tensor& d_output,
                        const Tensor& d_hidden, const LayerGradients& gradients);
  void backward_attention(const AttentionWeights& weights, std::span<const std::int64_t> offsets,
                          const LayerTape& tape, const Tensor& before, const Tensor& d_output,
                          const Tensor& d_hidden, const AttentionTensors<Tensor>& gradients);
  void finish_backward(const Tensor& x, const Tensor& norm, const Tensor& d_hidden, const Tensor& d_norm,
                       const std::function<void()>& meanwhile);
  const Tensor& or_unused(const Tensor& gradient) const {
    return gradient.empty() ? unused_.view() : gradient;
  }

  const ops::Context& context_;
  const Shards& shards_;
  const HfConfig& config_;
  LayerSteps steps_;
  OwnedTensor d_normed_;
  OwnedTensor wide_, d_mixed_, d_q_, d_k_, d_v_;
  OwnedTensor d_output_;  // by what a part puts out, where a norm follows
  OwnedTensor unused_;    // where the gradient of a norm goes that nobody asks for
};

}  // namespace galapagos
