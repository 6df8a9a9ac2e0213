#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <galapagos/pruning/hessian.hpp>

namespace galapagos {

/// What of a run decides the memory of its ranks.
struct PassExtent {
  DType precision = DType::f32;  ///< of the working weights
  std::int64_t most_tokens = 1;  ///< of a batch
  Device device = Device::cpu;   ///< where tensors lie
  bool weighed = false;          ///< by sensitivities

  DType activations() const { return ops::activation_type(device, precision); }
};

/// Bytes of a module's Hessian, and of the workspace of its pruning beside it.
std::uint64_t hessian_bytes(const HfConfig& config, const ModuleId& module);
std::uint64_t pruning_bytes(const HfConfig& config, const ModuleId& module, const PassExtent& extent);

/// Bytes that a rank of a stage needs.
struct StageMemory {
  std::uint64_t weights = 0;      ///< of its layers
  std::uint64_t activations = 0;  ///< of a batch
  std::uint64_t hessians = 0;     ///< of the modules of its layers
  std::uint64_t pruning = 0;      ///< of the largest of them

  std::uint64_t peak() const { return weights + activations + hessians + pruning; }
};
StageMemory stage_memory(const HfConfig& config, const LayerSpan& span, const PassExtent& extent,
                         std::span<const ModuleId> modules);

/// Deals modules into as few passes over the calibration data as keep every rank within `limit` bytes (0: no
/// limit). ResourceError where even one module at a time does not fit.
std::vector<std::vector<ModuleId>> plan_passes(const HfConfig& config, const PipelineGrid& grid,
                                               const PassExtent& extent, std::span<const ModuleId> modules,
                                               std::uint64_t limit);

}  // namespace galapagos
