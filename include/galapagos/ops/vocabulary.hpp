#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>

// Losses and their gradients where a rank has only a slice of the vocabulary, logits [t, slice] fp32 of the
// ids from `first` on: each rank's sums of a row, and gradients from what they add up to. What all slices of
// a row have in common is `shift`, log(sum(exp(logits))) over the whole vocabulary.
namespace galapagos::ops {

/// sums[2 i], sums[2 i + 1]: the greatest logit of row i, and log(sum(exp(logits - greatest))), in fp64.
void slice_scales(const Context& context, const Tensor& logits, std::span<double> scales);

/// found[i]: the logit of id ids[i], 0 where it is in another slice.
void slice_logits_of(const Context& context, const Tensor& logits, std::span<const std::int32_t> ids,
                     std::int64_t first, std::span<double> found);

/// Draws ids by the inverse of the cumulative distribution: ids[i] is the first column at which the sum of
/// exp(logits[i] - shifts[i]) up to it exceeds shares[i]; where rounding leaves none, the last whose own is
/// at least `negligible_share`.
constexpr float negligible_share = 1e-7f;
void draw_ids(const Context& context, const Tensor& logits, std::span<const double> shifts,
              std::span<const double> shares, std::span<std::int32_t> ids);

/// The slice's part of KL(softmax(dense[i]) || softmax(other[i])), with weights w = exp(dense -
/// dense_shifts[i]): sums[2 i] of w (dense - dense_shifts[i] - other + other_shifts[i]), and sums[2 i + 1] of
/// w, which adds up to 1 over all slices but for rounding. In fp64.
void slice_divergence(const Context& context, const Tensor& dense, std::span<const float> dense_shifts,
                      const Tensor& other, std::span<const float> other_shifts, std::span<double> sums);

/// As cross_entropy_backward, on a slice.
void slice_cross_entropy_backward(const Context& context, std::span<const std::int32_t> targets,
                                  std::int64_t first, std::span<const float> weights,
                                  std::span<const float> shifts, const Tensor& logits);

/// As kl_backward, on a slice.
void slice_kl_backward(const Context& context, const Tensor& dense, std::span<const float> dense_shifts,
                       std::span<const float> weights, std::span<const float> shifts, const Tensor& logits);

}  // namespace galapagos::ops
