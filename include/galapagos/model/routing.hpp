#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/mixture.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

/// Which experts of a mixture the tokens of a batch go to. A row is a token at one of its experts, sorted by
/// expert and token; a shard has those of the experts of which it has columns.
struct Routing {
  static constexpr std::int64_t elsewhere = -1;

  ops::ExpertRows layout;
  std::vector<std::int64_t> tokens;  ///< of each row
  std::vector<float> weights;        ///< of each row: what the expert's output is multiplied by
  /// Of each token, each of its experts, the most probable first: which, and its row or `elsewhere`.
  std::vector<std::int32_t> chosen;
  std::vector<std::int64_t> places;
  std::vector<float> probabilities;  ///< [tokens, experts], the softmax of the router's logits
  /// Where a loss of the probabilities is asked for, its gradient by those of each expert, in every row.
  std::vector<float> d_probabilities;

  std::int64_t experts_per_token = 0;
};

/// The routing by a router's logits [t, experts] fp32, on any device: each token goes to the
/// experts_per_token experts (or to all that are left) of largest probability, of equal ones to those that
/// come first. `columns`: of each expert, those that are here.
Routing route(const Tensor& logits, const MixtureSettings& settings, std::span<const std::int64_t> columns);

/// From the gradient by the rows' weights to that by the logits, [t, experts]; a shard's term of it.
std::vector<float> route_backward(const Routing& routing, const MixtureSettings& settings,
                                  std::span<const float> d_weights);

}  // namespace galapagos
