#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/export/stitch.hpp>

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

/// All tensors of the stitched model, layer by layer. The arguments must outlive the result.
std::vector<PlannedTensor> plan_tensors(const Checkpoint& checkpoint, const HfConfig& config,
                                        const DatabaseReader& database, const SearchSpace& space,
                                        const Assignment& assignment, ExportFormat format);

}  // namespace galapagos
