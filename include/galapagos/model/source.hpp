#pragma once

#include <cstdint>
#include <functional>

#include <galapagos/model/weights.hpp>

namespace galapagos {

/// Where the weights of a model come from: a checkpoint, or a checkpoint with the levels of a database put
/// in. The functions may throw; what they refer to must outlive this.
struct ModelSource {
  HfConfig config;  ///< with the shapes of what comes out
  DType precision = DType::f32;
  std::function<LayerWeights(std::int64_t layer)> layer;
  std::function<OwnedTensor()> embedding;
  std::function<HeadWeights()> head;
};

/// The model of a checkpoint as it is, or a shard's part of it.
ModelSource checkpoint_source(const Checkpoint& checkpoint, const HfConfig& config, const ModelPart& part,
                              DType precision, Device device);
inline ModelSource checkpoint_source(const Checkpoint& checkpoint, const HfConfig& config, DType precision,
                                     Device device) {
  return checkpoint_source(checkpoint, config, part_of_model(config, 0, 1), precision, device);
}

}  // namespace galapagos
