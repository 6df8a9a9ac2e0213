#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <galapagos/model/weights.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// What is left of an attention module once only some columns of o_proj are kept: whole query heads, and the
/// KV heads that any of them attends with.
struct KeptHeads {
  std::vector<std::int64_t> heads;     ///< kept query heads, as numbered before
  std::vector<std::int64_t> kv_heads;  ///< kept KV heads, as numbered before
  std::vector<std::int32_t>
      kv_of_head;  ///< for each kept query head, the position of its KV head in kv_heads
};

KeptHeads kept_heads(std::span<const std::int32_t> kv_of_head, std::int64_t head_dim,
                     std::span<const std::int64_t> kept_columns);

/// The rows that blocks of `size` rows take up.
std::vector<std::int64_t> rows_of_blocks(std::span<const std::int64_t> blocks, std::int64_t size);

/// Attention with only the columns `kept` of o_proj, whose new weight `o` is [hidden, kept]; the rows of q, k
/// and v that still matter are gathered from `dense`. Where nothing is kept, as on a shard, the norm is.
AttentionWeights prune_attention(const ops::Context& context, const AttentionWeights& dense,
                                 std::int64_t head_dim, std::span<const std::int64_t> kept, OwnedTensor o);

/// The columns that stand for `kept` of `dense` feed-forward columns: up to a multiple of 32, as far as the
/// dense part is that wide; those added have zero weights, which changes neither an output nor, as gradients
/// of zero, what is learned. Tensor cores multiply matrices of odd widths several times slower.
std::int64_t padded_columns(std::int64_t kept, std::int64_t dense);

/// The feed-forward part with only the columns `kept` of down_proj, whose new weight `down` is [hidden,
/// width], width >= kept, with zeros behind; likewise.
FfnWeights prune_ffn(const ops::Context& context, const FfnWeights& dense, std::span<const std::int64_t> kept,
                     OwnedTensor down);

/// The same of an expert of a mixture.
ExpertWeights prune_expert(const ops::Context& context, const ExpertWeights& dense,
                           std::span<const std::int64_t> kept, OwnedTensor down);

/// A mixture with `experts` in place of its own; null: it is gone, and its row of the router with it. Nothing
/// where all are.
FfnWeights with_experts(const ops::Context& context, const FfnWeights& dense,
                        std::vector<std::shared_ptr<const ExpertWeights>> experts);

/// A level's weight as the database stores it ([kept, hidden] words of `stored`) as a layer wants it:
/// [hidden, width] of type `precision` on the context's device, with zeros from column `kept` on. The words
/// as for ops::upload().
OwnedTensor level_weight(const ops::Context& context, std::span<const std::byte> bytes, DType stored,
                         DType precision, std::int64_t kept, std::int64_t width, std::int64_t hidden);

}  // namespace galapagos
