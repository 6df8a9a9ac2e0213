#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/context.hpp>
#include <galapagos/ops/row_values.hpp>

namespace galapagos::ops {

/// How far hidden states x are from a reference's r: 1 - cos(x, r) (Sanh et al. 2019, DistilBERT), or
/// |x - r|^2 / |r|^2 (of each token, where SquareHead of Kurtic et al. 2023 takes the quotient of a batch).
enum class HiddenLoss : std::uint8_t { cosine, normalised };

/// loss[i] of each row of x and reference [t, hidden] fp32, the sums over a row in fp64; adds the gradient of
/// sum(weights[i] * loss[i]) by x to d_x. Norms below 1e-8 count as 1e-8, as in torch.cosine_similarity.
void hidden_loss(const Context& context, HiddenLoss kind, const Tensor& x, const Tensor& reference,
                 std::span<const float> weights, const Tensor& d_x, const RowValues& loss);

}  // namespace galapagos::ops
