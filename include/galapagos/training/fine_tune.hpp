#pragma once

#include <cstdint>
#include <functional>

#include <galapagos/io/token_source.hpp>
#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/shards.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

struct FineTuneOptions {
  double learning_rate = 1e-5;
  bool recompute = false;  ///< activation checkpointing
};

enum class FineTuneEnd : std::uint8_t {
  done,
  stopped,   ///< where `stop` said so
  diverged,  ///< a loss or a gradient was NaN or infinite
};

/// DarwinLM's fine-tuning of a candidate: one pass over the sequences, one a step, by the cross entropy of
/// the text; AdamW with PyTorch's defaults on all parameters, at a constant rate, without clipping. Master
/// weights and moments are fp32 whatever the `precision` of `weights`, which are changed in place; `config`
/// has their shapes. All on this rank alone, or on the shards of a replica, for whose root `stop` is asked.
FineTuneEnd fine_tune(const ops::Context& context, const HfConfig& config, const ModelWeights& weights,
                      DType precision, const TokenSet& sequences, const FineTuneOptions& options,
                      const std::function<bool()>& stop, const Shards& shards = alone());

/// Bytes that fine-tuning takes beside the working weights, for a model of at most these shapes and
/// parameters.
std::uint64_t fine_tune_bytes(const HfConfig& config, std::int64_t parameters, std::int64_t longest_sequence,
                              bool recompute, Device device, DType activations);

}  // namespace galapagos
