#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/export/export_format.hpp>
#include <galapagos/io/checkpoint.hpp>

namespace galapagos {

/// Where levels come from.
struct LevelSource {
  DType dtype = DType::f32;       ///< of their words
  std::int64_t first_stored = 1;  ///< modules below it are the checkpoint's own
  /// [kept, hidden] words, read when the tensor's turn has come.
  std::function<std::vector<std::byte>(const ModuleId& module, std::int64_t level)> words;
};

/// All tensors of the stitched model, layer by layer. The arguments must outlive the result.
std::vector<ExportedTensor> plan_tensors(const Checkpoint& checkpoint, const HfConfig& config,
                                         const LevelSource& levels, const SearchSpace& space,
                                         const Assignment& assignment, const ExportFormat& format);

}  // namespace galapagos
