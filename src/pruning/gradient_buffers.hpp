#pragma once

#include "curvature_sum.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/model/layer_pass.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/model/output_pass.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos {

/// How gradients are gathered.
struct GradientGathering {
  SensitivityForm form = SensitivityForm::full;
  std::int64_t rank = 0;  ///< of sketches
  std::int64_t samples = 1;
  std::uint64_t seed = 0;
  std::int64_t most_tokens = 1;    ///< of a batch
  std::int64_t window_tokens = 1;  ///< of a lane between one reduction and the next
  bool recompute = false;  ///< keep only what goes into each layer, and compute it again on the way back
  // Of the context, for those that count bytes without one:
  Device device = Device::cpu;
  DType activations = DType::f32;
};

/// What a rank gathers gradients with and in, beside weights: of layers `span`, on each of several shards of
/// its part of them.
struct GradientBuffers {
  /// `dense`: the unpruned model that this one is compared with, or null. g g^T is summed of those of
  /// `modules` that lie in the span, g a^T of all that it has. The references must outlive this.
  GradientBuffers(const ops::Context& context, const HfConfig& config, const HfConfig* dense,
                  const LayerSpan& span, std::span<const ModuleId> modules, const Shards& shards,
                  const GradientGathering& how);
  GradientBuffers(const GradientBuffers&) = delete;
  GradientBuffers& operator=(const GradientBuffers&) = delete;

  std::optional<SketchDirections> directions;    ///< their matrix is left to be filled
  std::map<ModuleId, CurvatureSum> sums;         ///< g g^T
  std::map<ModuleId, OwnedTensor> first_orders;  ///< a g^T [columns of this shard, hidden] fp32
  LayerPass layers;
  std::vector<OwnedTensor> before;  ///< what goes into each layer
  std::vector<LayerTape> tapes;     ///< of each layer, or one for all
  OwnedTensor hidden[streamed_batches], again, d_hidden;
  std::optional<ForwardBuffers> dense;  ///< of the unpruned model, with its answer to a batch
  std::optional<OutputPass> output;     ///< on the last stage, as are the losses
  std::optional<LogitLosses> losses;
};

}  // namespace galapagos
