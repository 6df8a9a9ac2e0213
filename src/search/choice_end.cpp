#include "choice_end.hpp"

#include "island_comparison.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>

namespace galapagos {

void end_by_choices(const Communicator& comm, const SearchSetup& setup, const Population& last,
                    std::optional<Comparison> compared, const MeasureLosses& losses,
                    const Evaluator& evaluator, std::optional<Recorder>& recorder,
                    const std::function<std::optional<std::string>()>& interrupted, PhaseTimes& times) {
  Comparison comparison = comm.is_root() ? *compared : Comparison();
  comm.broadcast(comparison.fitness);
  std::vector<Assignment> parents;
  for (const IslandState& island : last.islands) parents.push_back(island.elites.front().assignment);
  const std::size_t best = comparison.best();
  std::vector<ChoiceContest> contests = {
      contest_of(parents[best], comparison.fitness[best], parents, comparison.fitness)};
  hold(comm, contests, setup.choices, setup.options.batch_tokens, losses, interrupted, &times);
  const Assignment& winner = contests.front().assignments[contests.front().chosen];
  if (winner != parents[best]) {
    comparison.chosen =
        static_cast<std::size_t>(std::find(parents.begin(), parents.end(), winner) - parents.begin());
    if (evaluator.extra_items > 0) {
      comparison.extra = compare_assignments(comm, {winner}, {comparison_draw(setup), {}}, evaluator,
                                             interrupted, "while the best is evaluated", &times)
                             .extra;
    }
  }
  agree_at_root(comm, [&] {
    recorder->choices(contests);
    recorder->comparison(last, comparison);
  });
}

}  // namespace galapagos
