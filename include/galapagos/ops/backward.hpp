#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/attention_rule.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/ops/factor.hpp>
#include <galapagos/ops/gate_kind.hpp>
#include <galapagos/ops/norm_rule.hpp>

// Gradients of the operations of linear.hpp and transformer.hpp. `d_x` is the gradient of a scalar loss by x.
// Gradients by weights are fp32, those by activations fp32 or, on a GPU, bf16; those said to be added to must
// hold something before.
namespace galapagos::ops {

/// Of y = x W^T: d_x [t, in] = d_y [t, out] W [out, in] (+ d_x with `accumulate`). W of any dtype.
void linear_input_gradient(const Context& context, const Factor& d_y, const Tensor& weight, const Tensor& d_x,
                           bool accumulate = false);

/// d_weight [out, in] += d_y^T x for d_y [t, out], x [t, in].
void linear_weight_gradient(const Context& context, const Factor& d_y, const Factor& x,
                            const Tensor& d_weight);

/// d_bias [out] += the column sums of d_y [t, out].
void bias_gradient(const Context& context, const Tensor& d_y, const Tensor& d_bias);

/// sums [n] += the column sums of the squares of x [t, n].
void add_column_squares(const Context& context, const Tensor& x, const Tensor& sums);

/// Adds to d_x [t, hidden] and d_weight [hidden], with x and weight as given to rms_norm and d_y; all fp32.
void rms_norm_backward(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
                       const Tensor& d_y, const Tensor& d_x, const Tensor& d_weight);

/// Turns the gradients by the rotated heads of rope() into those by the heads, in place.
void rope_backward(const Context& context, const Tensor& d_q, const Tensor& d_k, std::int64_t head_dim,
                   const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale = 1);

/// Of y = f(gate) * up, all [t, columns] of one type: overwrites gate and up with their gradients.
void swiglu_backward(const Context& context, const Tensor& d_y, const Tensor& gate, const Tensor& up,
                     GateKind kind = GateKind::silu);

/// Overwrites d_q, d_k, d_v (shapes of q, k, v) from d_out. `out` and `log_sums` are what attention() made of
/// q, k, v by the same rule. Scores are formed again, block by block (Dao et al. 2022, algorithm 4), once for
/// d_q and once for d_k and d_v, so that no sum depends on the number of threads.
void attention_backward(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
                        std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
                        const Tensor& d_out, const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                        const AttentionRule& rule = {});

/// d_table [vocabulary, hidden]: adds row i of d_out [t, hidden] to row tokens[i]; nothing for tokens in
/// another slice, as for embed.
void embed_backward(const Context& context, std::span<const std::int32_t> tokens, const Tensor& d_out,
                    const Tensor& d_table, std::int64_t first_id = 0);

/// Replaces logits [t, vocabulary] by the gradient of sum(weights[i] * cross entropy of row i with
/// targets[i]).
void cross_entropy_backward(const Context& context, std::span<const std::int32_t> targets,
                            std::span<const float> weights, const Tensor& logits);

/// Replaces logits [t, vocabulary] by the gradient of sum(weights[i] * KL(softmax(dense[i]) ||
/// softmax(logits[i]))); `dense_scale` as softmax_scale(dense).
void kl_backward(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                 std::span<const float> weights, const Tensor& logits);

}  // namespace galapagos::ops
