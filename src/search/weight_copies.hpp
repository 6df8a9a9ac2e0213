#pragma once

#include <cstdint>
#include <span>

#include <galapagos/model/weights.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// A part of a layer in memory of its own.
AttentionWeights copy(const AttentionWeights& attention);
FfnWeights copy(const FfnWeights& ffn);
OwnedTensor copy(const Tensor& tensor);

/// A weight [hidden, columns] of type `type` with the first columns of a compact one, [hidden, at least as
/// many] or empty, at `places` and zeros between.
OwnedTensor with_zeros(const ops::Context& context, const OwnedTensor& compact, std::int64_t hidden,
                       std::int64_t columns, DType type, std::span<const std::int64_t> places);

}  // namespace galapagos
