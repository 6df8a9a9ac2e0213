#pragma once

#include <span>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/phase_times.hpp>

namespace galapagos {

/// Collective. Seconds of each phase on the root, {name: {min, mean, max, share}}: over the ranks, of which
/// some may lack the phase, and the mean's share of the means of all phases. Empty on other ranks.
Json spread_over_ranks(const Communicator& comm, std::span<const PhaseTimes::Phase> phases);

/// Where a run's time and memory went, and what it took of the machine; on the root.
struct RunReport {
  Json phases;  ///< as above, of all times so far
  Json memory;  ///< bytes that a rank's tensors took at most: of "host", and of "gpu" where they were on one
  Json bill;    ///< of this run since it was last started, see Bill

  void add_to(Json& manifest) const;
};

/// Collective, at the end of a run. Logs it as well.
RunReport report_run(const Communicator& comm, PhaseTimes& times);

}  // namespace galapagos
