#include "choice_contest.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace galapagos {

ChoiceContest contest_of(const Assignment& chosen, double fitness, const std::vector<Assignment>& others,
                         const std::vector<double>& fitness_of_others) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < others.size(); ++i) {
    if (std::isfinite(fitness_of_others[i])) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return fitness_of_others[a] < fitness_of_others[b]; });
  ChoiceContest contest;
  contest.assignments = {chosen};
  contest.fitness = {fitness};
  for (const std::size_t i : order) {
    const auto& there = contest.assignments;
    if (there.size() == most_contestants) break;
    if (std::find(there.begin(), there.end(), others[i]) != there.end()) continue;
    contest.assignments.push_back(others[i]);
    contest.fitness.push_back(fitness_of_others[i]);
  }
  return contest;
}

void hold(const Communicator& comm, std::vector<ChoiceContest>& contests, const ChoiceQuestions& questions,
          std::int64_t batch_tokens, const MeasureLosses& losses,
          const std::function<std::optional<std::string>()>& interrupted, PhaseTimes* times) {
  std::vector<Assignment> all;  // each once, also of several sizes
  std::map<Assignment, std::size_t> places;
  for (const ChoiceContest& contest : contests) {
    for (const Assignment& one : contest.assignments) {
      if (places.emplace(one, all.size()).second) all.push_back(one);
    }
  }
  const std::vector<ChoiceAnswers> answers = measure_choices(comm, all, questions, batch_tokens, losses,
                                                             interrupted, "while questions are asked", times);
  for (ChoiceContest& contest : contests) {
    for (const Assignment& one : contest.assignments) contest.answers.push_back(answers[places.at(one)]);
    for (std::size_t i = 1; i < contest.answers.size(); ++i) {
      if (surely_better(contest.answers[i], contest.answers[contest.chosen])) contest.chosen = i;
    }
  }
}

}  // namespace galapagos
