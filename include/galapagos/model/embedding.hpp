#pragma once

#include <cstdint>
#include <span>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/model/shards.hpp>

namespace galapagos {

/// Collective over the shards. out [t, hidden] = rows `tokens` of an embedding of which each has a slice,
/// times what the family multiplies them by.
void embed_tokens(const ops::Context& context, const HfConfig& config, const Shards& shards,
                  std::span<const std::int32_t> tokens, const Tensor& table, const Tensor& out);

/// Adds to the gradient by this shard's slice of the embedding, which is stored as `stored`; d_out, that by
/// embed_tokens' output, is spoilt.
void embed_tokens_backward(const ops::Context& context, const HfConfig& config, const Shards& shards,
                           std::span<const std::int32_t> tokens, DType stored, const Tensor& d_out,
                           const Tensor& d_table);

}  // namespace galapagos
