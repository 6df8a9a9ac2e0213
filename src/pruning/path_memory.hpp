#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <galapagos/pruning/database_options.hpp>
#include <galapagos/pruning/passes.hpp>

namespace galapagos {

/// Bytes that a rank needs to prune along a path, or to refit an assignment on its own.
struct PathMemory {
  std::uint64_t states = 0;       ///< hidden states of its tokens, and levels refitted, in host memory
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

/// The same to refit an assignment's levels, those of rank r being held where owners are r.
PathMemory refit_memory(const DatabaseHeader& header, std::span<const std::int16_t> levels,
                        std::span<const int> owners, const Compensation& ridge, int ranks,
                        std::int64_t tokens, const PassExtent& extent);

/// Tokens of the rank that has most, where ranks take batches in turn; and of the longest batch.
std::int64_t most_tokens_of_rank(std::span<const Batch> batches, int ranks);
std::int64_t most_tokens_of(std::span<const Batch> batches);

/// What a rank lacks that may use `limit` bytes where tensors lie and, where that is a GPU, `host_limit` of
/// its node's memory; 0: any number. Empty where it is enough.
std::string path_shortage(const PathMemory& memory, std::uint64_t limit, std::uint64_t host_limit,
                          Device device);

/// Collective. ResourceError, saying what is needed, where a rank may not use that much of the memory where
/// tensors lie, or of its node's.
void check_path_memory(const Communicator& comm, const PathMemory& memory, std::uint64_t asked,
                       Device device);

}  // namespace galapagos
