#include "recorder.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/logging.hpp>

namespace galapagos {
namespace {

/// A candidate's answers, for choices.jsonl and for the manifest.
Json to_json(const ChoiceContest& contest, std::size_t i) {
  const ChoiceAnswers& answers = contest.answers[i];
  const auto count = static_cast<double>(answers.right.size());
  Json line;
  if (contest.sparsity) line["sparsity"] = *contest.sparsity;
  line["right"] = answers.rights();
  line["accuracy"] = static_cast<double>(answers.rights()) / count;
  line["log_probability"] = answers.log_probability();
  line["fitness"] = contest.fitness[i];
  return line;
}

std::string said_of(const ChoiceAnswers& answers) {
  return fmt::format("{} right, log-probability of the right choices {:.6g}", answers.rights(),
                     answers.log_probability());
}

}  // namespace

void Recorder::choices(const std::vector<ChoiceContest>& contests) {
  std::string lines;
  choices_ = {{"questions", setup_.choices.count()}, {"best", Json::array()}};
  for (const ChoiceContest& contest : contests) {
    for (std::size_t i = 0; i < contest.assignments.size(); ++i) {
      Json line = to_json(contest, i);
      line["chosen"] = i == contest.chosen;
      line["levels"] = contest.assignments[i];
      lines += line.dump() + "\n";
    }
    Json best = to_json(contest, contest.chosen);
    best["candidates"] = contest.assignments.size();
    best["by_fitness"] = to_json(contest, 0);
    choices_["best"].push_back(std::move(best));
    const auto count = static_cast<double>(setup_.choices.count());
    const double accuracy = static_cast<double>(contest.answers[contest.chosen].rights()) / count;
    log_info("{}{} questions, {} candidates: the best has {}, accuracy {:.1f} +- {:.1f} %; {}",
             contest.sparsity ? fmt::format("sparsity {}: ", *contest.sparsity) : std::string(),
             setup_.choices.count(), contest.assignments.size(), said_of(contest.answers[contest.chosen]),
             100 * accuracy, 100 * std::sqrt(accuracy * (1 - accuracy) / count),
             contest.chosen == 0 ? std::string("none is surely better than what the fitness says")
                                 : "what the fitness says has " + said_of(contest.answers[0]));
  }
  folder_.write_text("choices.jsonl", lines);
}

}  // namespace galapagos
