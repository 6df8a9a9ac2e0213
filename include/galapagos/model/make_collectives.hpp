#pragma once

#include <cstdint>
#include <memory>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/ops/context.hpp>

namespace galapagos {

/// What sums over the ranks of a replica go through.
enum class CollectivesKind : std::uint8_t { automatic, nccl, mpi };

/// ResourceError where NCCL is asked for and either the context is not on a GPU or the build lacks it.
void check_collectives(const ops::Context& context, CollectivesKind kind);

/// Collective. For tensors of the context: on the CPU over MPI; on a GPU over NCCL, or over MPI where that is
/// asked for, or the build has no NCCL and nothing is asked for. Every rank throws where any cannot have it.
std::unique_ptr<Collectives> make_collectives(const Communicator& ranks, const ops::Context& context,
                                              CollectivesKind kind);

}  // namespace galapagos
