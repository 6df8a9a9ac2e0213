#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/row_values.hpp>

// The total variation distance of the distributions p = softmax(dense[i]) and q = softmax(other[i]) of the
// next token: sum(|p - q|) / 2 = 1 - sum(min(p, q)), which is one minus the share of q's draws that
// speculative sampling keeps (Leviathan et al. 2023). Logits [t, vocabulary] fp32, or a rank's slice of them;
// the sums over the vocabulary in fp64.
namespace galapagos::ops {

/// distance[i], from 0 (exactly, for equal logits) to 1; `dense_scale` as softmax_scale(dense).
void total_variation(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                     const Tensor& other, const RowValues& distance);

/// Replaces logits [t, vocabulary] by the gradient of sum(weights[i] * distance of row i from dense[i]); a
/// token of equal probabilities, where the distance has a kink, pulls neither way.
void total_variation_backward(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                              std::span<const float> weights, const Tensor& logits);

/// The slice's part, with log(sum(exp(logits))) of each row over the whole vocabulary: sums[2 i] of |p - q|,
/// and sums[2 i + 1] of q sign(q - p), the `leaning` of the row.
void slice_variation(const Context& context, const Tensor& dense, std::span<const double> dense_log_sums,
                     const Tensor& other, std::span<const double> other_log_sums, std::span<double> sums);

/// As total_variation_backward, on a slice, with the leanings summed over all slices.
void slice_variation_backward(const Context& context, const Tensor& dense,
                              std::span<const double> dense_log_sums, std::span<const double> leanings,
                              std::span<const float> weights, std::span<const double> log_sums,
                              const Tensor& logits);

}  // namespace galapagos::ops
