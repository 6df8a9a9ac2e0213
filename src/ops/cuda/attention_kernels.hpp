#pragma once

#include "resources.hpp"

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/ops/attention_rule.hpp>

// Our own ways of attention on a GPU: fp32 for any head size, and bf16 on tensor cores for the usual ones.
// Each is given tensors of its own type; attention.cu converts where an operation's are of another.
namespace galapagos::ops::cuda {

/// A run of at most a tile's rows from `first` on, of the sequence of rows [begin, end).
struct SequenceTile {
  std::int32_t begin, end, first;
};

/// The tiles of all sequences, those with most to do first: the last of the longest where each row looks
/// back, the first of the longest where each is looked at by those behind it.
std::vector<SequenceTile> tiles_of(std::span<const std::int64_t> offsets, std::int64_t rows,
                                   bool looking_back);

/// The query heads of each KV head, one KV head's after the other's; those of g are [firsts[g], firsts[g +
/// 1]).
struct HeadGroups {
  HeadGroups(std::span<const std::int32_t> kv_of_head, std::int64_t kv_heads);
  std::vector<std::int32_t> heads, firsts;
};

/// What both directions need; all of one type.
struct AttentionInput {
  const Tensor &q, &k, &v;
  std::int64_t head_dim;
  std::span<const std::int32_t> kv_of_head;
  std::span<const std::int64_t> offsets;
  AttentionRule rule;

  std::int64_t heads() const { return static_cast<std::int64_t>(kv_of_head.size()); }
  std::int64_t kv_heads() const { return k.columns() / head_dim; }
  float scale() const { return rule.scale_of(head_dim); }
  /// Of some of the sequences.
  AttentionInput of(std::span<const std::int64_t> some) const {
    return {q, k, v, head_dim, kv_of_head, some, rule};
  }
};

/// What attention() left, and the gradients to be written: `out`, d_out and the gradients of the type of q,
/// log_sums [t, heads] fp32. `products` [t, heads]: d_out . out of each head.
struct AttentionGradients {
  const Tensor& out;
  const Tensor& log_sums;
  const Tensor& d_out;
  const float* products;
  const Tensor &d_q, &d_k, &d_v;
};

/// Whether tensor cores serve this head size.
bool on_tensor_cores(std::int64_t head_dim);

/// In fp32, by any rule.
void general_attention(Resources& gpu, const AttentionInput& input, const Tensor& out,
                       const Tensor& log_sums);
void general_attention_backward(Resources& gpu, const AttentionInput& input, const AttentionGradients& to);

/// In bf16, without windows and caps.
void tensor_attention(Resources& gpu, const AttentionInput& input, const Tensor& out, const Tensor& log_sums);
void tensor_attention_backward(Resources& gpu, const AttentionInput& input, const AttentionGradients& to);

}  // namespace galapagos::ops::cuda
