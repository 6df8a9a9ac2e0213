#pragma once

#include "recorder.hpp"

#include <functional>
#include <optional>
#include <string>

#include <galapagos/search/racing.hpp>

namespace galapagos {

/// On the replicas' roots, collective: races from where the islands of `start` stand, which an earlier run
/// may have begun; then the best of the islands' last and of where the first began, on what was held back,
/// and where there are questions by these, among the best challengers too. `choices` are the questions'
/// losses.
void lead_races(const Communicator& comm, const SearchSetup& setup, const Population& start,
                const std::vector<EndLosses>& near, const MeasureLosses& losses, const MeasureLosses& choices,
                const Evaluator& evaluator, std::optional<Recorder>& recorder,
                const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times);

}  // namespace galapagos
