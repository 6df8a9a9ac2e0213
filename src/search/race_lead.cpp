#include "race_lead.hpp"

#include "choose_front.hpp"
#include "island_comparison.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>
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

}  // namespace

void lead_races(const Communicator& comm, const SearchSetup& setup, const Population& start,
                const std::vector<EndLosses>& near, const MeasureLosses& losses, const Evaluator& evaluator,
                std::optional<Recorder>& recorder,
                const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times) {
  const EvolutionOptions& evolution = setup.options.evolution;
  std::vector<Assignment> starts, finalists;
  for (const IslandState& island : start.islands) starts.push_back(island.elites.front().assignment);
  std::vector<Standing> last;
  if (evolution.strategy == StrategyKind::racing) {
    Racing racing{
        setup.budgets, setup.blocks.raced, losses, {}, {}, interrupted, saved_trials(comm, setup, recorder)};
    racing.near = near;
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
  const std::string when = "while the islands are compared";
  const Finalists measured(comm, finalists, comparison_draw(setup), setup.options.fitness, losses,
                           interrupted, when, &times);
  const std::vector<double> fitness = measured.fitness();
  const std::vector<FrontPoint> front = agree_on(
      comm, [&] { return choose_front(setup.options.targets, setup.budgets, measured, last.size()); });
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
