#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <galapagos/model/pipeline.hpp>
#include <galapagos/pruning/sensitivity_options.hpp>

namespace galapagos {

/// What is known of the text: its batches, or what they are going to be at most.
struct SensitivityExtent {
  std::int64_t tokens = 0;       ///< in all
  std::int64_t most_tokens = 1;  ///< of a batch
  std::int64_t longest = 1;      ///< sequence, for the operations of attention
  Device device = Device::cpu;
  DType activations = DType::f32;      ///< of what lies between operations
  std::optional<HfConfig> dense = {};  ///< of the unpruned model, with options.divergence
};

/// How `galapagos sensitivity` deals the ranks, and what that takes.
struct SensitivityForecast {
  PipelineGrid grid;        ///< stages and lanes; with shards one stage, and each replica a lane
  bool recompute = false;   ///< layers are computed again on the way back
  std::string too_small;    ///< why the memory limit cannot be kept; empty where it can
  std::int64_t window = 1;  ///< batches, over all lanes, from one look at signals to the next
  std::uint64_t bytes = 0;  ///< of the rank that needs most
  std::uint64_t file = 0;
  double operations = 0;  ///< of all ranks
};

/// The fewest stages, or those that --lanes leaves, whose ranks can hold their part within `limit` bytes (0:
/// any number): with all that lies between the layers' operations where that fits, else computing it again.
/// From sizes alone.
SensitivityForecast forecast_sensitivity(const SensitivityOptions& options, const HfConfig& config,
                                         DType precision, const SensitivityExtent& extent, int ranks,
                                         std::uint64_t limit);

}  // namespace galapagos
