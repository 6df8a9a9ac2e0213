#pragma once

#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/phase_times.hpp>

namespace galapagos {

/// Collective. Seconds of each phase on the root, {name: {min, mean, max, share}}: over the ranks, of which
/// some may lack the phase, and the mean's share of the means of all phases. Empty on other ranks.
Json spread_over_ranks(const Communicator& comm, std::span<const PhaseTimes::Phase> phases);

/// Collective, at the end of a run. The same of all times so far, and logs it as a table.
Json report_phases(const Communicator& comm, PhaseTimes& times);

}  // namespace galapagos
