#pragma once

#include "resources.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

// What is known of cuDNN: plans that run on pointers. It is loaded when it is first asked for.
namespace galapagos::ops::cuda {

enum class AttentionStep : std::uint8_t { forward, forward_with_sums, backward };

/// Sequences of one length, end to end, and the heads of theirs that one call computes; all bf16. A row has
/// `row_heads` heads of queries, of which these are `heads` neighbours, likewise of keys and values. Head h
/// attends with KV head h / (heads / kv_heads).
struct AttentionShape {
  std::int64_t sequences, length, head_dim;
  std::int64_t heads, kv_heads;
  std::int64_t row_heads, row_kv_heads;
  float scale;  ///< of the scores
  auto operator<=>(const AttentionShape&) const = default;
};

/// Causal attention or its gradients, always summed in one order.
class AttentionPlan {
 public:
  virtual ~AttentionPlan() = default;

  /// Queues it. `tensors` point at the first row and head of
  ///   forward             q, k, v, out
  ///   forward_with_sums   q, k, v, out, log_sums
  ///   backward            q, k, v, out, log_sums, d_out, d_q, d_k, d_v
  /// log_sums [sequences, heads, length] fp32, natural logarithms. False, with a warning in the log, where
  /// cuDNN fails; what it was to write is undefined then.
  virtual bool run(Resources& gpu, std::span<void* const> tensors) = 0;
};

/// Whether cuDNN can be loaded; the log says once where it cannot.
bool cudnn_loads();

/// The plan, made at the first call and kept for the life of the process; nullptr where cuDNN has none or one
/// that needs more than `most_workspace` bytes, of which the log says why at the first call.
AttentionPlan* attention_plan(Resources& gpu, AttentionStep step, const AttentionShape& shape,
                              std::size_t most_workspace);

}  // namespace galapagos::ops::cuda
