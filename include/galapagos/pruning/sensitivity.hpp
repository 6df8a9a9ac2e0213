#pragma once

#include <functional>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/sensitivity_options.hpp>

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

/// Collective. Measures the sensitivities of all modules and writes their file; leaves `output`.part behind
/// where it is stopped after a saving, which `resume` takes up to the same bits on as many ranks.
/// StoppedEarly after a signal or at `max_seconds`; errors are of the same kind on all ranks.
void measure_sensitivities(const Communicator& comm, const ops::Context& context,
                           const SensitivityOptions& options, const SensitivityModel& model);

}  // namespace galapagos
