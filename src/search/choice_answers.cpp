#include "eval_parts.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/comm/failure_board.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/search/choice_answers.hpp>
#include <galapagos/search/gains.hpp>

namespace galapagos {
namespace {

constexpr double sure = 0.9;
// Questions before whose number the spread of log-probabilities says nothing.
constexpr std::size_t enough = 8;

/// P(X >= wins) where each of `count` is won or lost alike.
double by_chance(std::int64_t wins, std::int64_t count) {
  const auto all = static_cast<double>(count);
  double sum = 0;
  for (std::int64_t k = wins; k <= count; ++k) {
    const auto won = static_cast<double>(k);
    sum += std::exp(std::lgamma(all + 1) - std::lgamma(won + 1) - std::lgamma(all - won + 1) -
                    all * std::log(2.0));
  }
  return sum;
}

/// Negative log-likelihood of the scored tokens of a draw's sequences.
void append_sums(const std::vector<double>& losses, const TokenDraw& draw, const ChoiceQuestions& questions,
                 std::vector<double>& sums) {
  for (std::size_t s = 0; s < draw.sequences.size(); ++s) {
    double sum = 0;
    const auto scored = draw.offsets[s] + static_cast<std::uint64_t>(questions.context[draw.sequences[s]]);
    for (std::uint64_t i = scored - 1; i + 1 < draw.offsets[s + 1]; ++i) sum += losses[i];
    sums.push_back(sum);
  }
}

}  // namespace

std::int64_t ChoiceAnswers::rights() const {
  return std::count(right.begin(), right.end(), true);
}

double ChoiceAnswers::log_probability() const {
  return std::accumulate(log_probabilities.begin(), log_probabilities.end(), 0.0);
}

ChoiceAnswers answers_of(const ChoiceQuestions& questions, std::span<const double> nll) {
  ChoiceAnswers answers;
  for (std::size_t q = 0; q < questions.count(); ++q) {
    std::optional<std::size_t> best;
    const auto of_byte = [&](std::size_t s) { return nll[s] / questions.bytes[s]; };
    for (std::size_t s = questions.first[q]; s < questions.first[q + 1]; ++s) {
      if (std::isfinite(nll[s]) && (!best || of_byte(s) < of_byte(*best))) best = s;
    }
    answers.right.push_back(best == questions.answers[q]);
    answers.log_probabilities.push_back(-nll[questions.answers[q]]);
  }
  return answers;
}

bool surely_better(const ChoiceAnswers& one, const ChoiceAnswers& other) {
  std::int64_t won = 0, lost = 0;
  const std::size_t count = one.right.size();
  for (std::size_t q = 0; q < count; ++q) {
    won += one.right[q] && !other.right[q] ? 1 : 0;
    lost += !one.right[q] && other.right[q] ? 1 : 0;
  }
  if (won > lost && by_chance(won, won + lost) < 1 - sure) return true;
  if (won < lost || count < enough) return false;
  double sum = 0, squares = 0;
  for (std::size_t q = 0; q < count; ++q) {
    const double lost_here = other.log_probabilities[q] - one.log_probabilities[q];
    sum += lost_here;
    squares += lost_here * lost_here;
  }
  const auto questions = static_cast<double>(count);
  const double mean = sum / questions, variance = (squares - sum * mean) / (questions - 1) / questions;
  return std::isfinite(mean) && variance > 0 && GainBelief{mean, variance}.better() > sure;
}

std::vector<ChoiceAnswers> measure_choices(const Communicator& comm,
                                           const std::vector<Assignment>& assignments,
                                           const ChoiceQuestions& questions, std::int64_t batch_tokens,
                                           const MeasureLosses& losses,
                                           const std::function<std::optional<std::string>()>& interrupted,
                                           const std::string& when, PhaseTimes* times) {
  const std::vector<EvalPart> parts = cut_eval_data({questions.tokens}, batch_tokens);
  const auto ranks = static_cast<std::size_t>(comm.size());
  FailureBoard board(comm);
  const std::function<bool()> stop = [&] {
    if (const auto reason = interrupted()) {
      board.attempt(
          [&] { throw StoppedEarly(fmt::format("stopped by {} {}", *reason, when), "search", go_on); });
    }
    return board.failed();
  };
  std::vector<double> mine = {0};  // whether all of it was measured; then assignment by assignment
  board.attempt([&] {
    const PhaseScope evaluating(times, "evaluating");
    for (const Assignment& assignment : assignments) {
      for (auto p = static_cast<std::size_t>(comm.rank()); p < parts.size(); p += ranks) {
        if (stop()) return;
        const auto found = losses(assignment, std::span(&assignment, 1), parts[p].draw, stop);
        if (!found) return;
        append_sums(found->front(), parts[p].draw, questions, mine);
      }
    }
    mine.front() = 1;
  });
  const PhaseScope waiting(times, "waiting");
  std::vector<std::uint64_t> counts;
  std::vector<double> all = comm.gather(std::span<const double>(mine), &counts);
  comm.broadcast(all);
  std::vector<std::size_t> at(ranks, 0);
  bool complete = true;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (rank > 0) at[rank] = at[rank - 1] + counts[rank - 1];
    complete = complete && all[at[rank]] == 1;
  }
  board.settle();
  if (!complete) throw FailureError("a rank did not measure its part", "search", "report this as a defect");
  for (std::size_t& place : at) ++place;
  std::vector<ChoiceAnswers> answers;
  std::vector<double> nll(questions.tokens.sequences());
  for (std::size_t a = 0; a < assignments.size(); ++a) {
    for (std::size_t p = 0; p < parts.size(); ++p) {
      for (const std::uint32_t sequence : parts[p].draw.sequences) nll[sequence] = all[at[p % ranks]++];
    }
    answers.push_back(answers_of(questions, nll));
  }
  return answers;
}

}  // namespace galapagos
