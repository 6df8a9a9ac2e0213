#pragma once

#include <cstdint>
#include <span>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/tensor/dtype.hpp>

// What the shards of a replica exchange, from shapes alone.
namespace galapagos {

/// Bytes that each shard puts into the collectives of its replica, by what they are for.
struct ShardTraffic {
  double layers = 0;     ///< summed: what leaves each half of a layer, or its gradient on the way back
  double embedding = 0;  ///< summed
  double head = 0;       ///< summed: the gradient of what goes into the head, or the logits of sparse_kl
  double losses = 0;     ///< gathered: each slice's part of the losses

  ShardTraffic& operator+=(const ShardTraffic& other);
  ShardTraffic times(double factor) const;
  /// The bytes that each of `shards` ranks sends for that, and receives.
  ShardTraffic moved(int shards) const;
  double total() const { return layers + embedding + head + losses; }
};

/// Bytes that each rank sends, and receives, where `bytes` on each of them are summed in a ring: the share
/// 2 (ranks - 1) / ranks (Patarasuk and Yuan 2009); and where each gathers `bytes` from every other.
double moved_by_sum(double bytes, int ranks);
double moved_by_gather(double bytes, int ranks);

/// Of one token through the embedding, in fp32, and all layers, in bf16 where `activations` are:
/// LayerForward's sums.
ShardTraffic forward_traffic(std::int64_t hidden_size, std::span<const LayerShape> layers,
                             DType activations = DType::f32);
/// Of one token back through the head and all layers, gradients in fp32; with `recompute` the sums that
/// TrainingPass makes once more are among them, more of them where norms follow both parts (`post_norms`).
/// What shards exchange of norms in an update is left out.
ShardTraffic backward_traffic(std::int64_t hidden_size, std::span<const LayerShape> layers, bool recompute,
                              DType activations = DType::f32, bool post_norms = false);

/// Of one token in LogitLosses: a model's negative log-likelihood, its likeliest id, what is needed of a
/// reference, and the divergence or the total variation distance from it. Two doubles a row are the scale of
/// a slice's logits.
constexpr ShardTraffic nll_traffic = {0, 0, 0, 3 * sizeof(double)};
constexpr ShardTraffic likeliest_traffic = {0, 0, 0, 2 * sizeof(double)};
constexpr ShardTraffic reference_traffic = {0, 0, 0, 2 * sizeof(double)};
constexpr ShardTraffic divergence_traffic = {0, 0, 0, 4 * sizeof(double)};
/// The same over the likeliest ids alone, for which both models' logits are put together.
ShardTraffic sparse_divergence_traffic(std::int64_t vocabulary);

}  // namespace galapagos
