#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/attention_rule.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos::ops {

/// The keys and values of texts of which more is to come, head by head: both [places * kv_heads, capacity,
/// head_dim] of the type of activations, KV head h of the text in place p in row p * kv_heads + h.
struct HeadCache {
  Tensor keys, values;
  std::int64_t kv_heads = 0;

  std::int64_t capacity() const { return keys.shape[1]; }
  std::int64_t head_dim() const { return keys.shape[2]; }
};

/// Which of a cache's texts some rows go on with: rows [offsets[s], offsets[s + 1]) are the positions from
/// starts[s] on of the text in place places[s]. No place comes twice.
struct CachedRows {
  std::span<const std::int64_t> offsets, starts, places;
};

/// Puts the rows of k and v [t, kv_heads * head_dim], activations, into the cache.
void store_heads(const Context& context, const Tensor& k, const Tensor& v, const CachedRows& rows,
                 const HeadCache& cache);

/// Causal attention of the rows of q [t, query heads * head_dim] with the keys and values of their texts up
/// to their own, which the cache holds already; to `out`, otherwise as ops::attention.
void cached_attention(const Context& context, const Tensor& q, const HeadCache& cache,
                      std::span<const std::int32_t> kv_of_head, const CachedRows& rows, const Tensor& out,
                      const AttentionRule& rule = {});

}  // namespace galapagos::ops
