#pragma once

#include <galapagos/comm/communicator.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/database_options.hpp>

namespace galapagos {

/// Collective. Collects Hessians, prunes every module and writes the database; leaves `output`.part behind
/// where it is stopped, which `resume` takes up: StoppedEarly after SIGUSR2, SIGTERM or max_seconds, between
/// two modules or in a collection, which then begins anew. Throws the same error kind on all ranks
/// (comm/agreement.hpp).
void build_database(const Communicator& comm, const ops::Context& context, const DatabaseOptions& options);

}  // namespace galapagos
