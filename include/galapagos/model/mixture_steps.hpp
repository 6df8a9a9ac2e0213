#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/routing.hpp>
#include <galapagos/model/shards.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// Shown of each expert that tokens go to the input of its down_proj, [tokens, columns], or what it puts out,
/// [tokens, hidden], either times the weights [tokens] that the router gives them.
using ExpertTap =
    std::function<void(std::int64_t expert, std::span<const float> weights, const Tensor& values)>;

/// The way through a mixture of experts and back, in steps, or on each of several shards through its part of
/// it: tokens sorted by expert, the products of all experts together.
class MixtureSteps {
 public:
  /// The references must outlive this.
  MixtureSteps(const ops::Context& context, const HfConfig& config, std::int64_t most_tokens,
               const Shards& shards);

  /// Chooses experts by normed [t, hidden], and computes their gates and ups, laid out as routing.layout
  /// says.
  void gate_and_up(const FfnWeights& weights, const Tensor& normed, Routing& routing, const Tensor& gate,
                   const Tensor& up);
  /// out = f(gate) * up, times the rows' weights.
  void activate(const Routing& routing, const Tensor& gate, const Tensor& up, const Tensor& out,
                const ExpertTap& tap = {});
  /// hidden [t, hidden] fp32 += the outputs of the experts, summed over the shards; `room` as for
  /// Shards::add_product.
  void add_output(const FfnWeights& weights, const Routing& routing, const Tensor& active,
                  const Tensor& hidden, const Tensor& room, const ExpertTap& tap = {});

  /// Where the way back stands between its two halves.
  struct Backward {
    const FfnWeights& weights;
    const Routing& routing;
    const Tensor gate, up;  ///< their gradients once backward() has returned
  };
  /// From d_output [t, hidden] fp32 by what the mixture puts out to this shard's term of d_normed [t, hidden]
  /// fp32. `active` as activate() made it, and spoilt. Adds to the gradients of down_proj.
  void backward(const Backward& state, const Tensor& d_output, const Tensor& active, const Tensor& d_normed,
                const LayerGradients& gradients);
  /// The gradients of the router, gate_proj and up_proj, after that; normed as before.
  void add_weight_gradients(const Backward& state, const Tensor& normed, const LayerGradients& gradients);

 private:
  /// Shows the tap each expert to which tokens go, `all` being as wide as the layout or, each row, `columns`.
  void show(const ExpertTap& tap, const Routing& routing, const Tensor& all,
            std::span<const std::int64_t> columns) const;
  /// That tensor of every expert.
  static std::vector<Tensor> weights_of(const FfnWeights& weights, OwnedTensor ExpertWeights::*tensor);
  Tensor rows_of(const Routing& routing) const { return rows_->slice(0, routing.layout.count()); }

  const ops::Context& context_;
  const Shards& shards_;
  HfConfig config_;
  OwnedTensor logits_;     // of the router, and their gradients
  OwnedTensor rows_;       // what goes into experts or comes out of them
  OwnedTensor d_weights_;  // the gradient by the rows' weights
};

/// What a layer's gates are as wide as for a token: in a mixture as wide as its experts together.
std::int64_t ffn_width(const HfConfig& config, const LayerShape& shape);

}  // namespace galapagos
