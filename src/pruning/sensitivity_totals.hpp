#pragma once

#include "sensitivity_setup.hpp"

#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// Collective. Adds what the lanes have gathered to the owners' totals, in the order of the lanes, and
/// empties the sums. `collector` is null on ranks that gather nothing.
void add_to_totals(const Communicator& comm, const SensitivitySetup& setup,
                   const GradientCollector* collector, Sensitivities& totals);

}  // namespace galapagos
