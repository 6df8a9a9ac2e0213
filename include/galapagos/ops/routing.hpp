#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/expert_rows.hpp>
#include <galapagos/tensor/device_array.hpp>

namespace galapagos::ops {

/// To how many experts a token goes, and whether the weights of those are divided by their sum.
struct RoutingRule {
  std::int64_t experts_per_token = 1;
  bool renormalised = false;
};

/// Which experts of a mixture the tokens of a batch go to. A row is a token at one of its experts, sorted by
/// expert and token; a shard has those of the experts of which it has columns. The host knows how many rows
/// each expert has, all else is on the context's device.
struct Routing {
  static constexpr std::int64_t elsewhere = -1;

  Routing() = default;
  /// Room for so many tokens and experts, and so many experts of a token.
  Routing(const Context& context, std::int64_t most_tokens, std::int64_t most_experts,
          std::int64_t most_per_token);

  ExpertRows layout;
  std::int64_t token_count = 0, experts_per_token = 0;
  DeviceArray<std::int64_t> tokens;  ///< of each row
  DeviceArray<float> weights;        ///< of each row: what the expert's output is multiplied by
  /// Of each token, each of its experts, the most probable first: which, and its row or `elsewhere`.
  DeviceArray<std::int32_t> chosen;
  DeviceArray<std::int64_t> places;
  DeviceArray<float> probabilities;  ///< [tokens, experts], the softmax of the router's logits
  /// On the host: where a loss of the probabilities is asked for, its gradient by those of each expert, in
  /// every row.
  std::vector<float> d_probabilities;

  /// Of all tokens, and probabilities of all.
  std::int64_t choices() const { return token_count * experts_per_token; }
  std::int64_t probability_count() const { return token_count * layout.experts(); }
};

/// The routing by a router's logits [t, experts] fp32: each token goes to the experts_per_token experts (or
/// to all that are left) of largest probability, of equal ones to those that come first; NaN is less than
/// all. `columns`: of each expert, those that are here. Waits on a GPU, once, for the rows of each expert.
void route(const Context& context, const Tensor& logits, const RoutingRule& rule,
           std::span<const std::int64_t> columns, Routing& routing);

/// d_logits [t, experts] fp32 = the gradient by the logits, a shard's term of it, from that by the rows'
/// weights, d_weights [rows] fp32.
void route_backward(const Context& context, const Routing& routing, const RoutingRule& rule,
                    const Tensor& d_weights, const Tensor& d_logits);

}  // namespace galapagos::ops
