#include "island.hpp"
#include "island_comparison.hpp"
#include "records.hpp"
#include "shared_population.hpp"
#include "stage_evaluator.hpp"
#include "streams.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/search/evolution.hpp>

namespace galapagos {
namespace {

using Interrupted = std::function<std::optional<std::string>()>;

/// Bytes that a rank tells the others at most: its islands' records, or values of a comparison.
std::size_t most_bytes(const SearchSpace& space, const Strategy& strategy, const EvolutionOptions& options,
                       const Evaluator& evaluator, int ranks) {
  const auto share = [&](std::size_t count) {
    return (count + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks);
  };
  const auto islands = static_cast<std::size_t>(options.islands);
  const std::size_t records =
      sizeof(std::int64_t) + share(islands) * record_bytes(space.modules.size(), options, strategy.memory());
  return std::max(records, (1 + share(std::max(islands, evaluator.extra_items))) * sizeof(double));
}

class Evolution {
 public:
  Evolution(const Communicator& comm, const SearchSpace& space, const Strategy& strategy,
            const EvolutionOptions& options, const TokenPools& pools, Population start,
            const Evaluator& evaluator, const Observer& observer, const Interrupted& interrupted,
            PhaseTimes* times)
      : space_(space),
        strategy_(strategy),
        options_(options),
        pools_(pools),
        evaluator_(evaluator),
        observer_(observer),
        interrupted_(interrupted),
        crew_(comm, options.islands, most_bytes(space, strategy, options, evaluator, comm.size()), times),
        states_(start.islands),
        reports_(states_.size()),
        shared_(crew_, space, options.topology, std::move(start), publish_),
        stages_(std::in_place, crew_, evaluator, stop_) {}

  Population run();

 private:
  bool stop();
  bool generation();
  bool generation_of(const IslandGeneration& turn);
  bool compare();
  bool comparison_due(std::int64_t generation) const;

  const SearchSpace& space_;
  const Strategy& strategy_;
  const EvolutionOptions& options_;
  const TokenPools& pools_;
  const Evaluator& evaluator_;
  const Observer& observer_;
  const Interrupted& interrupted_;
  const std::function<bool()> stop_ = [this] { return stop(); };
  const std::function<void(const Population&)> publish_ = [this](const Population& population) {
    const PhaseScope writing = crew_.phase("writing");
    if (observer_.generation) {
      observer_.generation(population, options_.topology.after(population.generation));
    }
  };
  Crew crew_;
  std::vector<IslandState> states_;  // this rank's own islands are ahead of what all know by a generation
  std::vector<GenerationReport> reports_;
  SharedPopulation shared_;
  std::optional<StageEvaluator> stages_;
  std::int64_t generation_ = 0;
};

/// Whether this rank is to stop working: another one has failed, or there is a reason to stop early, which is
/// told to the others like a failure.
bool Evolution::stop() {
  shared_.take_in_early();
  if (crew_.board.failed()) return true;
  if (const auto reason = interrupted_()) {
    crew_.board.attempt([&] {
      throw StoppedEarly(fmt::format("stopped by {} in generation {}", *reason, generation_), "search",
                         go_on);
    });
  }
  return crew_.board.failed();
}

/// One generation of one of this rank's islands; false where the search is to end.
bool Evolution::generation_of(const IslandGeneration& turn) {
  const auto at = static_cast<std::size_t>(turn.island);
  GenerationReport report;
  const EvaluationSeconds before = evaluator_.seconds();
  crew_.waited();
  bool fine = false;
  std::exception_ptr failure;
  try {
    fine = run_generation(
        space_, strategy_, options_, pools_, turn, shared_.moments_for(turn, states_[at]),
        [&](const Assignment& base, std::span<const Assignment> candidates, const StageTokens& tokens) {
          return stages_->measure(base, candidates, tokens);
        },
        [&] { return shared_.immigrants(turn); }, states_[at], report);
  } catch (...) {
    failure = std::current_exception();  // comes on all ranks of the group at the same place
  }
  if (failure) crew_.board.attempt([&] { std::rethrow_exception(failure); });
  if (!fine) return false;
  const EvaluationSeconds after = evaluator_.seconds();
  report.seconds = {after.switching - before.switching, after.training - before.training,
                    after.layers - before.layers, after.head - before.head};
  report.wait_seconds = crew_.waited();
  reports_[at] = report;
  return true;
}

bool Evolution::generation() {
  for (const std::int64_t island : crew_.dealing.islands) {
    if (!generation_of({island, generation_})) return false;
  }
  if (!shared_.finish()) return false;
  shared_.tell(states_, reports_, generation_);
  return true;
}

bool Evolution::compare() {
  if (!shared_.finish()) return false;
  // The parents are measured as the last stage measured them, only on more tokens.
  const StageTokens tokens{
      draw_tokens(pools_.compared, options_.compare_tokens, stream(options_.seed, 0, 0, 0, Draw::comparison)),
      draw_tokens(pools_.training, options_.stages.back().training_tokens,
                  stream(options_.seed, 0, 0, 0, Draw::comparison_training))};
  const auto comparison = compare_islands(crew_, shared_.known(), tokens, evaluator_, stop_);
  if (!comparison) return false;
  if (crew_.all.is_root() && observer_.comparison) {
    crew_.board.attempt([&] {
      const PhaseScope writing = crew_.phase("writing");
      observer_.comparison(shared_.known(), *comparison);
    });
  }
  return true;
}

bool Evolution::comparison_due(std::int64_t generation) const {
  return generation >= options_.generations ||
         (options_.eval_every > 0 && generation > 0 && generation % options_.eval_every == 0);
}

Population Evolution::run() {
  generation_ = shared_.known().generation;
  // A search that is taken up again begins with the comparison that was due.
  bool going = !comparison_due(generation_) || compare();
  while (going && generation_ < options_.generations) {
    ++generation_;
    going = generation() && (!comparison_due(generation_) || compare());
  }
  Population last = shared_.end();
  const PhaseScope waiting = crew_.phase("waiting");
  stages_.reset();  // here, where all ranks come, and not on the way of an exception
  crew_.board.settle();
  return last;
}

}  // namespace

Population evolve(const Communicator& comm, const SearchSpace& space, const Strategy& strategy,
                  const EvolutionOptions& options, const TokenPools& pools, Population start,
                  const Evaluator& evaluator, const Observer& observer, const Interrupted& interrupted,
                  PhaseTimes* times) {
  return Evolution(comm, space, strategy, options, pools, std::move(start), evaluator, observer, interrupted,
                   times)
      .run();
}

}  // namespace galapagos
