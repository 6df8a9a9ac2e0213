#pragma once

#include "recorder.hpp"

#include <functional>
#include <optional>
#include <string>

#include <galapagos/search/racing.hpp>
#include <galapagos/search/relaxed_model.hpp>

namespace galapagos {

/// On the replicas' roots, collective: learns levels from where the islands of `start` begin, of several
/// sizes one after the other, from the smallest model on, each from where the one before has settled. They
/// take the place of the islands' starts where they are better on common tokens. What levels lose near them,
/// by size; nothing of a size where they are not.
std::vector<EndLosses> start_by_gradient(const Communicator& comm, const SearchSetup& setup,
                                         const MeasureGradient& gradient, const MeasureLosses& measure,
                                         Population& start, std::optional<Recorder>& recorder,
                                         const std::function<std::optional<std::string>()>& interrupted,
                                         PhaseTimes& times);

}  // namespace galapagos
