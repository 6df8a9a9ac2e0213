#pragma once

#include "setup.hpp"

#include <cstddef>
#include <cstdint>

#include <galapagos/search/footprint.hpp>

namespace galapagos {

/// How a search uses the memory that a rank may have.
struct SearchMemory {
  std::size_t answers = 0;        ///< bytes of the unpruned model's answers, one copy on each node
  std::uint64_t cache_limit = 0;  ///< bytes of built modules that a rank keeps
  std::uint64_t kept_logits = 0;  ///< bytes of the unpruned model's logits that a rank keeps
  LevelHome home = LevelHome::device;
};

/// Collective. Decides where the weights of levels live; ResourceError where a replica does not fit at all.
SearchMemory plan_memory(const Communicator& comm, const Communicator& node, const ReplicaGrid& grid,
                         const SearchSetup& setup, Device device);

}  // namespace galapagos
