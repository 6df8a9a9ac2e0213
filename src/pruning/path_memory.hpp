#pragma once

#include <cstdint>

#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/passes.hpp>

namespace galapagos {

/// Bytes that a rank needs to prune along a path.
struct PathMemory {
  std::uint64_t states = 0;       ///< hidden states of its tokens, in host memory
  std::uint64_t embedding = 0;    ///< at the beginning
  std::uint64_t weights = 0;      ///< of a layer, and of a module of it pruned
  std::uint64_t activations = 0;  ///< of a batch
  std::uint64_t sums = 0;         ///< of a module
  std::uint64_t pruning = 0;      ///< of a module, on its owner

  /// At the peak, beside the hidden states.
  std::uint64_t working() const;
};

/// `tokens`: of the rank that has most.
PathMemory path_memory(const DatabaseHeader& header, const std::optional<Compensation>& compensation,
                       int ranks, std::int64_t tokens, const PassExtent& extent);

/// Collective. ResourceError, saying what is needed, where a rank may not use that much of the memory where
/// tensors lie, or of its node's.
void check_path_memory(const Communicator& comm, const PathMemory& memory, std::uint64_t asked,
                       Device device);

}  // namespace galapagos
