#pragma once

#include <cstdint>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/search/latency_table.hpp>

namespace galapagos {

/// How parts are timed.
struct Timing {
  std::int64_t batch = 1, length = 1024;  ///< sequences, and tokens of each prompt, or of the context
  std::int64_t repeats = 5;               ///< of which the least counts
  DType precision = DType::f32;           ///< of the weights, and of K and V
};

/// Times parts of a model by themselves, with random weights and states, on this rank.
///
/// Prefill: what a layer's part does with `batch` sequences of `length` tokens. Decode: what it does with one
/// token of each, and in attention the two products of that token's heads with K and V of `length` tokens of
/// every sequence, which read as much and compute as much as attention over a KV cache (the softmax between
/// them is left out). Fixed: embedding of these tokens, final norm, and head of the last token of each
/// sequence. Weights, K and V of several layers are gone over in turn, as many as the model has or as take up
/// 256 MiB, so that they are not found in a cache that the model's own would not be found in.
class ModuleTimer {
 public:
  /// The references must outlive this.
  ModuleTimer(const ops::Context& context, const HfConfig& config, const Timing& timing);

  /// Seconds of one pass; 0 where nothing is there.
  double seconds(const PartShape& shape, LatencyPhase phase);

 private:
  double fixed(LatencyPhase phase);
  double attention(const PartShape& shape, LatencyPhase phase);
  double feed_forward(const PartShape& shape, LatencyPhase phase);
  template <typename Pass>
  double least_time(Pass&& pass) const;
  std::int64_t tokens(LatencyPhase phase) const {
    return phase == LatencyPhase::prefill ? timing_.batch * timing_.length : timing_.batch;
  }
  std::vector<std::int64_t> offsets(LatencyPhase phase) const;

  const ops::Context& context_;
  const HfConfig& config_;
  Timing timing_;
};

/// "cpu with 4 threads", or the GPU's name.
std::string device_text(const ops::Context& context);

/// What is to be timed for the levels of a database, and embedding and head; each once.
std::vector<PartShape> shapes_of(const SearchSpace& space);
/// The same for a database that is yet to be made: which KV heads stay is not known then, so that there is a
/// shape for each number that may.
std::vector<PartShape> possible_shapes(const DatabaseHeader& header);

}  // namespace galapagos
