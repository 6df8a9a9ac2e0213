#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/row_values.hpp>

namespace galapagos::ops {

/// Of logits [t, vocabulary] fp32, what comparing other logits with them needs of each row: the greatest
/// value and log(sum(exp(logits - greatest))), interleaved in `scale` [t, 2] fp32.
void softmax_scale(const Context& context, const Tensor& logits, const Tensor& scale);

/// divergence[i] = KL(softmax(dense[i]) || softmax(other[i])) in nats; dense, other [t, vocabulary] fp32, the
/// sums over the vocabulary in fp64. `dense_scale` as softmax_scale(dense).
void kl_divergence(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                   const Tensor& other, const RowValues& divergence);

/// The same over the `k` most probable tokens of the dense model only, both distributions renormalised on
/// them (as the reference's sparse_kl). k >= 1; ties by the lower id.
void sparse_kl_divergence(const Context& context, const Tensor& dense, const Tensor& other, std::int64_t k,
                          const RowValues& divergence);

/// The first index of each row's greatest value.
void arg_max(const Context& context, const Tensor& logits, std::span<std::int32_t> indices);

}  // namespace galapagos::ops
