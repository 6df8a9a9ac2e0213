#pragma once

#include <cstdint>

#include <galapagos/io/hf_config.hpp>

// Floating-point operations of the forward pass, a multiplication and an addition each; of matrix products
// and attention only, beside which the rest is nothing.
namespace galapagos {

/// Tokens that a token attends to, on the mean over a sequence.
double mean_seen(std::int64_t sequence_length);

/// Of one token in attention, in the feed-forward part, in a whole layer, and for its logits.
double attention_operations(const HfConfig& config, std::int64_t heads, std::int64_t kv_heads, double seen);
double ffn_operations(const HfConfig& config, std::int64_t columns);
/// Of a mixture to whose experts tokens go evenly.
double mixture_operations(const HfConfig& config, const LayerShape& shape);
double layer_operations(const HfConfig& config, const LayerShape& shape, double seen);
double logit_operations(const HfConfig& config);

/// Of one token in layers [first, last).
double span_operations(const HfConfig& config, std::int64_t first, std::int64_t last, double seen);

}  // namespace galapagos
