#pragma once

#include <galapagos/comm/communicator.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/sensitivity_model.hpp>
#include <galapagos/pruning/sensitivity_options.hpp>

namespace galapagos {

/// Collective. Measures the sensitivities of all modules and writes their file; leaves `output`.part behind
/// where it is stopped after a saving, which `resume` takes up to the same bits on as many ranks.
/// StoppedEarly after a signal or at `max_seconds`; errors are of the same kind on all ranks.
void measure_sensitivities(const Communicator& comm, const ops::Context& context,
                           const SensitivityOptions& options, const SensitivityModel& model);

}  // namespace galapagos
