#pragma once

#include <galapagos/comm/communicator.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/search/search_options.hpp>

namespace galapagos {

/// Collective. Looks for the best assignment and leaves everything in the run's folder. Throws StoppedEarly
/// where a signal or the time limit ends it before; errors are of the same kind on all ranks.
void run_search(const Communicator& comm, const ops::Context& context, const SearchOptions& options);

}  // namespace galapagos
