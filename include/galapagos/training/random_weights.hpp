#pragma once

#include <cstdint>

#include <galapagos/model/source.hpp>

namespace galapagos {

/// Weights as transformers begins with them: matrices normal with mean 0 and the standard deviation
/// `initializer_range` of config.json (0.02 where it says nothing), norms 1, biases 0; a function of the seed
/// and the tensor alone. Of a shard's part only its slices are made.
ModelSource random_source(const HfConfig& config, const ModelPart& part, DType precision, Device device,
                          std::uint64_t seed);
inline ModelSource random_source(const HfConfig& config, DType precision, Device device, std::uint64_t seed) {
  return random_source(config, part_of_model(config, 0, 1), precision, device, seed);
}

}  // namespace galapagos
