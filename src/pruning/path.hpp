#pragma once

#include "plan.hpp"

#include <galapagos/comm/collectives.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/core/stop_rule.hpp>

namespace galapagos {

/// Collective. Prunes the missing modules of the database `part` one after the other, each by what reaches it
/// through the modules before it as the path has them pruned; those before the first missing one are read
/// from it. All ranks share the calibration batches; owners take turns. `sensitivities` may be null, and
/// `collectives` where sums go through host memory. Errors as build_database; StoppedEarly after the module
/// in which the rule comes to hold on any rank.
void build_on_path(const Communicator& comm, const ops::Context& context, const DatabaseOptions& options,
                   const Plan& plan, const SensitivityReader* sensitivities, Collectives* collectives,
                   const std::filesystem::path& part, const StopRule& stop, PhaseTimes& times);

}  // namespace galapagos
