#include "race_lead.hpp"

#include "choice_contest.hpp"
#include "choose_front.hpp"
#include "island_comparison.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/search/front.hpp>

namespace galapagos {
namespace {

/// What an earlier run has measured, on every rank.
std::vector<MeasuredTrial> saved_trials(const Communicator& comm, const SearchSetup& setup,
                                        const std::optional<Recorder>& recorder) {
  std::string text;
  agree_at_root(comm, [&] { text = recorder->measured(); });
  text = comm.broadcast_string(text);
  return agree_on(comm, [&] {
    return trials_of(text, setup.space, setup.options.evolution, setup.blocks.raced,
                     (setup.options.output / "archive.jsonl").string());
  });
}

/// The front with --nested: what its models lose is measured anew where they are others.
std::vector<FrontPoint> nested_front(const Communicator& comm, const SearchSetup& setup,
                                     std::vector<FrontPoint> front, const std::vector<EndLosses>& near,
                                     const MeasureLosses& losses,
                                     const std::function<std::optional<std::string>()>& interrupted,
                                     PhaseTimes& times) {
  std::vector<EndLosses> known = near;
  known.resize(front.size());
  if (setup.space.has_end_losses()) {
    for (EndLosses& losses_of_size : known)
      if (losses_of_size.empty()) losses_of_size = perturbed_end_losses(setup.space, 0, RandomStream(0, {}));
  }
  const std::vector<Assignment> chain =
      agree_on(comm, [&] { return nested(setup.space, setup.budgets, front, known); });
  const Finalists measured(comm, chain, comparison_draw(setup), setup.options.fitness, losses, interrupted,
                           "while nested models are compared", &times);
  const std::vector<double> fitness = measured.fitness();
  for (std::size_t k = 0; k < front.size(); ++k) {
    if (!std::isfinite(fitness[k])) {  // so on all ranks
      agree(comm, [&] {
        throw NumericalError(fmt::format("the fitness of the nested model of sparsity {} is NaN or infinite",
                                         front[k].sparsity),
                             "search", "leave out --nested, or use --precision fp32");
      });
    }
    if (comm.is_root()) {
      log_info("sparsity {}: fitness {:.6g} on its own, {:.6g} nested", front[k].sparsity, front[k].fitness,
               fitness[k]);
    }
    front[k].assignment = chain[k];
    front[k].fitness = fitness[k];
  }
  return front;
}

/// How incumbents are watched, but for what an earlier run did of it.
Watching watching_of(const Communicator& comm, const SearchSetup& setup,
                     const std::optional<Recorder>& recorder) {
  Watching watching{setup.options.evolution.eval_every, nullptr};
  if (!setup.blocks.held_back.tokens.empty()) watching.draw = &setup.blocks.held_back;
  std::vector<std::int64_t> before;
  agree_at_root(comm, [&] {
    for (const auto& [island, generation] : recorder->watched_before())
      before.insert(before.end(), {island, generation});
  });
  comm.broadcast(before);
  for (std::size_t i = 0; i < before.size(); i += 2) watching.before.emplace(before[i], before[i + 1]);
  return watching;
}

/// Of each size: what was chosen by fitness, and the best others that meet it.
std::vector<ChoiceContest> contests_of(const SearchSetup& setup, const std::vector<FrontPoint>& front,
                                       const std::vector<Assignment>& finalists,
                                       const std::vector<double>& fitness) {
  std::vector<ChoiceContest> contests;
  for (std::size_t k = 0; k < front.size(); ++k) {
    std::vector<Assignment> others;
    std::vector<double> fitness_of_others;
    for (std::size_t i = 0; i < finalists.size(); ++i) {
      if (!setup.budgets[k].met_by(finalists[i])) continue;
      others.push_back(finalists[i]);
      fitness_of_others.push_back(fitness[i]);
    }
    contests.push_back(contest_of(front[k].assignment, front[k].fitness, others, fitness_of_others));
    if (!setup.options.targets.empty()) contests.back().sparsity = front[k].sparsity;
  }
  return contests;
}

}  // namespace

void lead_races(const Communicator& comm, const SearchSetup& setup, const Population& start,
                const std::vector<EndLosses>& near, const MeasureLosses& losses, const MeasureLosses& choices,
                const Evaluator& evaluator, std::optional<Recorder>& recorder,
                const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times) {
  const EvolutionOptions& evolution = setup.options.evolution;
  std::vector<Assignment> starts, finalists;
  for (const IslandState& island : start.islands) starts.push_back(island.elites.front().assignment);
  std::vector<Standing> last;
  if (evolution.strategy == StrategyKind::racing) {
    Racing racing{
        setup.budgets, setup.blocks.raced, losses, {}, {}, interrupted, saved_trials(comm, setup, recorder)};
    racing.near = near;
    racing.watching = watching_of(comm, setup, recorder);
    racing.watched = [&](const Watched& watched) { recorder->watched(watched); };
    if (setup.choices.count() > 0)
      racing.others = std::max<std::size_t>(1, most_contestants * setup.budgets.size() / starts.size());
    racing.known =
        knowledge_of(setup.space, setup.budgets, evolution, setup.blocks.raced, setup.archive.known);
    racing.measured = [&](const std::string& lines) { recorder->measured(lines); };
    racing.standing = [&](const Standing& standing) { recorder->standing(standing, start); };
    last = race(comm, setup.space, evolution, racing, starts, &times);
  }
  for (const Standing& standing : last) finalists.push_back(standing.incumbent);
  // Where they began, too: what was gained may not hold on other tokens.
  const std::size_t began = setup.budgets.size() == 1 && !last.empty() ? 1 : starts.size();
  finalists.insert(finalists.end(), starts.begin(), starts.begin() + static_cast<std::ptrdiff_t>(began));
  const std::size_t by_fitness = finalists.size();  // the others are only asked the questions
  for (const Standing& standing : last)
    finalists.insert(finalists.end(), standing.others.begin(), standing.others.end());
  const std::string when = "while the islands are compared";
  const Finalists measured(comm, finalists, comparison_draw(setup), setup.options.fitness, losses,
                           interrupted, when, &times);
  const std::vector<double> fitness = measured.fitness();
  std::vector<FrontPoint> front = agree_on(comm, [&] {
    return choose_front(setup.options.targets, setup.budgets, measured, last.size(), by_fitness);
  });
  if (setup.choices.count() > 0) {
    std::vector<ChoiceContest> contests = contests_of(setup, front, finalists, fitness);
    hold(comm, contests, setup.choices, setup.options.batch_tokens, choices, interrupted, &times);
    for (std::size_t k = 0; k < front.size(); ++k) {
      front[k].assignment = contests[k].assignments[contests[k].chosen];
      front[k].fitness = contests[k].fitness[contests[k].chosen];
    }
    agree_at_root(comm, [&] { recorder->choices(contests); });
  }
  if (setup.options.nested)
    front = nested_front(comm, setup, std::move(front), near, losses, interrupted, times);
  std::vector<double> extra;
  if (evaluator.extra_items > 0) {  // of every point
    std::vector<Assignment> points;
    for (const FrontPoint& point : front) points.push_back(point.assignment);
    Evaluator some = evaluator;
    some.extra_items = points.size() * evaluator.extra_items;
    some.extra = [&](const Assignment&, std::size_t item) {
      return evaluator.extra(points[item / evaluator.extra_items], item % evaluator.extra_items);
    };
    extra = compare_assignments(comm, points, {comparison_draw(setup), {}}, some, interrupted, when, &times)
                .extra;
  }
  if (setup.budgets.size() == 1) {
    agree_at_root(comm, [&] { recorder->end_races(last, start, front.front(), {fitness, extra}); });
    return;
  }
  agree_at_root(comm, [&] { recorder->end_front(last, start, front, extra); });
}

}  // namespace galapagos
