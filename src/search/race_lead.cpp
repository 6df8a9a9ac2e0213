#include "race_lead.hpp"

#include "island_comparison.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>

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
                const MeasureLosses& losses, const Evaluator& evaluator, std::optional<Recorder>& recorder,
                const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times) {
  std::vector<Assignment> starts;
  for (const IslandState& island : start.islands) starts.push_back(island.elites.front().assignment);
  Racing racing{std::span(&*setup.budget, 1),       setup.blocks.raced, losses, {}, {}, interrupted,
                saved_trials(comm, setup, recorder)};
  racing.measured = [&](const std::string& lines) { recorder->measured(lines); };
  racing.standing = [&](const Standing& standing) { recorder->standing(standing, start); };
  const std::vector<Standing> last = race(comm, setup.space, setup.options.evolution, racing, starts, &times);

  std::vector<Assignment> finalists;
  for (const Standing& standing : last) finalists.push_back(standing.incumbent);
  finalists.push_back(starts.front());
  const Comparison comparison = compare_assignments(comm, finalists, {comparison_draw(setup), {}}, evaluator,
                                                    interrupted, "while the islands are compared", &times);
  agree_at_root(comm, [&] { recorder->end_races(last, start, comparison); });
}

}  // namespace galapagos
