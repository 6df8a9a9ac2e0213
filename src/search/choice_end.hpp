#pragma once

#include "choice_contest.hpp"
#include "recorder.hpp"

#include <galapagos/search/evaluator.hpp>

namespace galapagos {

/// On the replicas' roots, collective: the best of the islands of `last` by the questions, written down.
/// `compared`: on the root, the comparison of all of them, of which nothing has been written yet. `losses`
/// are those of the questions.
void end_by_choices(const Communicator& comm, const SearchSetup& setup, const Population& last,
                    std::optional<Comparison> compared, const MeasureLosses& losses,
                    const Evaluator& evaluator, std::optional<Recorder>& recorder,
                    const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times);

}  // namespace galapagos
