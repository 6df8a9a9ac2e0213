#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/search/choice_answers.hpp>

namespace galapagos {

/// Candidates of one size that meet at the end.
struct ChoiceContest {
  std::optional<double> sparsity = {};  ///< of a front
  std::vector<Assignment> assignments;  ///< the first one is what the fitness says
  std::vector<double> fitness;          ///< of each
  std::vector<ChoiceAnswers> answers = {};
  std::size_t chosen = 0;
};

/// Candidates that meet at most.
inline constexpr std::size_t most_contestants = 8;

/// A contest of what was `chosen` by fitness and the best others of finite fitness, each once.
ChoiceContest contest_of(const Assignment& chosen, double fitness, const std::vector<Assignment>& others,
                         const std::vector<double>& fitness_of_others);

/// Collective; see measure_choices(). Fills in answers, and who is chosen: from the first on, whoever is
/// surely_better() than the one chosen so far.
void hold(const Communicator& comm, std::vector<ChoiceContest>& contests, const ChoiceQuestions& questions,
          std::int64_t batch_tokens, const MeasureLosses& losses,
          const std::function<std::optional<std::string>()>& interrupted, PhaseTimes* times);

}  // namespace galapagos
