#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/choice_questions.hpp>
#include <galapagos/search/racing.hpp>

namespace galapagos {

/// How a model answers multiple-choice questions: of each whether it is right, and the logarithm of the
/// probability of its right choice after the context.
struct ChoiceAnswers {
  std::vector<bool> right;
  std::vector<double> log_probabilities;

  std::int64_t rights() const;
  double log_probability() const;  ///< of all right choices
};

/// From the negative log-likelihood of each sequence's choice. A model chooses what is most probable per byte
/// of the choice's text, the first of equals: long choices are not at a disadvantage, nor is it known how the
/// tokenizer cuts them (acc_norm of lm-evaluation-harness, which counts characters, for texts of ASCII). What
/// is not finite is not chosen.
ChoiceAnswers answers_of(const ChoiceQuestions& questions, std::span<const double> nll);

/// Whether one model is better than another on the same questions: as it answers more of those right that
/// only one of the two does, by chance with a probability under 10 % (the exact sign test); or where that
/// says so of neither and it answers no fewer right, as its right choices are more probable, 90 % sure.
bool surely_better(const ChoiceAnswers& one, const ChoiceAnswers& other);

/// Collective: the questions are dealt over the ranks. The answers of each assignment, with `losses` the
/// negative log-likelihood of tokens of the questions. Throws what all ranks agree on: StoppedEarly where
/// `interrupted` names a reason, saying `when`. `times` may be null.
std::vector<ChoiceAnswers> measure_choices(const Communicator& comm,
                                           const std::vector<Assignment>& assignments,
                                           const ChoiceQuestions& questions, std::int64_t batch_tokens,
                                           const MeasureLosses& losses,
                                           const std::function<std::optional<std::string>()>& interrupted,
                                           const std::string& when, PhaseTimes* times);

}  // namespace galapagos
