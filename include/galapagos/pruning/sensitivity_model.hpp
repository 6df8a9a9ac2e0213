#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <galapagos/model/source.hpp>
#include <galapagos/pruning/module_id.hpp>

namespace galapagos {

/// The model whose gradients are taken: a checkpoint, or one with levels put in.
struct SensitivityModel {
  HfConfig config;  ///< of the checkpoint, whose modules are named
  std::string fingerprint;
  std::string assignment_fingerprint;  ///< empty for the checkpoint as it is
  DType precision = DType::f32;
  std::function<ModelSource(int shard, int shards)> source;
  // With options.divergence, of the checkpoint that levels were put into:
  std::vector<std::int64_t> kept;  ///< columns of its modules that are left
  std::function<ModelSource(int shard, int shards)> dense;
  std::function<std::vector<float>(const ModuleId&)> in_place;  ///< as ModuleSensitivity::in_place
};

}  // namespace galapagos
