#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/export/export_format.hpp>
#include <galapagos/io/checkpoint.hpp>

namespace galapagos {

/// A tensor of the new checkpoint: what it will be, and how its bytes are made when its turn comes.
struct PlannedTensor {
  std::string name;
  std::string dtype;  ///< as in the parent
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = 0;
  std::function<void(std::span<std::byte> out)> fill;
  /// Of a tensor whose parts several ranks have, what the others do while the `writer` fills.
  std::function<void(int writer)> contribute = {};
};

/// Where levels come from.
struct LevelSource {
  DType dtype = DType::f32;       ///< of their words
  std::int64_t first_stored = 1;  ///< modules below it are the checkpoint's own
  /// [kept, hidden] words, read when the tensor's turn has come.
  std::function<std::vector<std::byte>(const ModuleId& module, std::int64_t level)> words;
};

/// All tensors of the stitched model, layer by layer. The arguments must outlive the result.
std::vector<PlannedTensor> plan_tensors(const Checkpoint& checkpoint, const HfConfig& config,
                                        const LevelSource& levels, const SearchSpace& space,
                                        const Assignment& assignment, ExportFormat format);

}  // namespace galapagos
