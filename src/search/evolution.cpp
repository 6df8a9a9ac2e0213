#include "dealing.hpp"
#include "island.hpp"
#include "records.hpp"
#include "streams.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/exchange.hpp>
#include <galapagos/comm/shared_counter.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/search/evolution.hpp>

namespace galapagos {
namespace {

class Evolution {
 public:
  Evolution(const Communicator& comm, const SearchSpace& space, const Budget& budget,
            const EvolutionOptions& options, const TokenPools& pools, Population start,
            const Evaluator& evaluator, const Observer& observer,
            const std::function<std::optional<std::string>()>& interrupted, PhaseTimes* times)
      : comm_(comm.duplicate()),
        dealing_(comm.rank(), comm.size(), options.islands),
        group_(comm_.split(dealing_.group, comm_.rank())),
        next_chunk_(std::in_place, comm_, group_),
        space_(space),
        budget_(budget),
        options_(options),
        pools_(pools),
        evaluator_(evaluator),
        observer_(observer),
        interrupted_(interrupted),
        times_(times),
        known_(std::move(start)),
        states_(known_.islands),
        reports_(states_.size()),
        board_(comm_),
        exchange_(comm_, most_bytes()) {}

  Population run();

 private:
  std::size_t most_bytes() const;
  bool agreed(bool fine) const {
    return group_.all_gather<char>(fine && !board_failed_ ? 1 : 0) ==
           std::vector<char>(static_cast<std::size_t>(group_.size()), 1);
  }
  bool stop();
  std::optional<std::vector<double>> group_fitness(const Assignment& base,
                                                   std::span<const Assignment> candidates,
                                                   const StageTokens& tokens);
  const std::vector<std::size_t>* take_chunk(const std::vector<std::vector<std::size_t>>& chunks,
                                             std::int64_t first);
  bool wait();
  bool finish_exchange();
  void take_in();
  std::optional<std::vector<Assignment>> immigrants(std::int64_t island);
  void learn_from(const std::vector<IslandState>& islands, SurrogateMoments& moments) const;
  SurrogateMoments moments_for(std::int64_t island) const;
  bool generation();
  void publish();
  bool compare();
  bool exchange_values(bool fine, const std::vector<double>& mine, std::size_t count,
                       std::vector<double>& all);
  bool comparison_due(std::int64_t generation) const;

  Communicator comm_;
  Dealing dealing_;
  Communicator group_;
  std::optional<SharedCounter> next_chunk_;
  std::int64_t first_chunk_ = 0;  // what next_chunk_ says when a stage begins
  const SearchSpace& space_;
  const Budget& budget_;
  const EvolutionOptions& options_;
  const TokenPools& pools_;
  const Evaluator& evaluator_;
  const Observer& observer_;
  const std::function<std::optional<std::string>()>& interrupted_;
  PhaseTimes* times_;
  Population known_;                 // of the last generation that every rank has told of
  std::vector<IslandState> states_;  // this rank's own islands are ahead of known_ by up to one generation
  std::vector<GenerationReport> reports_;
  std::int64_t generation_ = 0;
  std::int64_t exchanged_ = 0;  // the last generation that this rank has told of
  bool board_failed_ = false;
  bool records_pending_ = false;  // a generation was exchanged that finish_exchange() has not seen to its end
  bool observer_failed_ = false;
  double waited_ = 0;
  FailureBoard board_;
  Exchange exchange_;
};

std::size_t Evolution::most_bytes() const {
  const auto islands_of_a_rank =
      static_cast<std::size_t>((options_.islands + comm_.size() - 1) / comm_.size());
  const std::size_t records =
      sizeof(std::int64_t) + islands_of_a_rank * record_bytes(space_.modules.size(), options_);
  const std::size_t values =
      std::max<std::size_t>(static_cast<std::size_t>(options_.islands), evaluator_.extra_items);
  const std::size_t values_of_a_rank =
      (values + static_cast<std::size_t>(comm_.size()) - 1) / static_cast<std::size_t>(comm_.size());
  return std::max(records, (1 + values_of_a_rank) * sizeof(double));
}

/// Whether this rank is to stop working: another one has failed, or there is a reason to stop early, which is
/// told to the others like a failure.
bool Evolution::stop() {
  // Not only when the next generation ends: what is known to all is to be saved soon.
  if (comm_.is_root() && records_pending_ && exchange_.done()) take_in();
  if (board_.failed()) return true;
  if (const auto reason = interrupted_()) {
    board_.attempt([&] {
      throw StoppedEarly(fmt::format("stopped by {} in generation {}", *reason, generation_), "search",
                         "go on with --resume");
    });
  }
  return board_.failed();
}

std::optional<std::vector<double>> Evolution::group_fitness(const Assignment& base,
                                                            std::span<const Assignment> candidates,
                                                            const StageTokens& tokens) {
  const bool trained = !tokens.training.tokens.empty();  // each by itself
  const auto chunks = make_chunks(candidates, base, group_.size(), trained);
  const auto first =
      std::exchange(first_chunk_, first_chunk_ + static_cast<std::int64_t>(chunks.size()) + group_.size());
  // Values and which of them are this rank's; at the end, whether the rank has got through.
  const std::size_t count = candidates.size(), length = 2 * count + 1;
  std::vector<double> given(length, 0.0);
  if (!stop()) {
    board_.attempt([&] {
      while (const auto* chunk = take_chunk(chunks, first)) {
        std::vector<Assignment> own;
        for (const std::size_t i : *chunk) own.push_back(candidates[i]);
        const PhaseScope evaluating(times_, "evaluating");
        const auto found = evaluator_.fitness(base, own, tokens, [&] { return stop(); });
        if (!found) return;
        for (std::size_t i = 0; i < own.size(); ++i) {
          given[(*chunk)[i]] = (*found)[i];
          given[count + (*chunk)[i]] = 1;
        }
      }
      given.back() = 1;
    });
  }
  const PhaseScope waiting(times_, "waiting");
  const Stopwatch watch;
  const std::vector<double> all = group_.all_gather(std::span<const double>(given));
  waited_ += watch.seconds();
  std::vector<double> fitness(count);
  for (std::size_t at = 0; at < all.size(); at += length) {
    if (all[at + length - 1] == 0) return std::nullopt;
    for (std::size_t i = 0; i < count; ++i) {
      if (all[at + count + i] != 0) fitness[i] = all[at + i];
    }
  }
  return fitness;
}

/// The next chunk of a stage that no rank of the group has taken yet; nothing where all are taken. Every rank
/// that gets through a stage is told so once, which is how all know what the counter says in the next stage.
const std::vector<std::size_t>* Evolution::take_chunk(const std::vector<std::vector<std::size_t>>& chunks,
                                                      std::int64_t first) {
  const PhaseScope waiting(times_, "waiting");
  const Stopwatch watch;
  const auto next = static_cast<std::size_t>(next_chunk_->take() - first);
  waited_ += watch.seconds();
  return next < chunks.size() ? &chunks[next] : nullptr;
}

/// Waits for the round that is pending. All ranks of the group come to the same answer.
bool Evolution::wait() {
  const PhaseScope waiting(times_, "waiting");
  const Stopwatch watch;
  const bool complete = exchange_.wait(board_);
  board_failed_ = board_failed_ || !complete;
  waited_ += watch.seconds();
  return agreed(complete);
}

/// Takes in what all islands have done in the generation before.
bool Evolution::finish_exchange() {
  if (!records_pending_) return true;
  if (!wait()) return false;
  take_in();
  records_pending_ = false;
  return true;
}

void Evolution::take_in() {
  if (known_.generation == exchanged_) return;
  Population next;
  next.generation = known_.generation + 1;
  next.islands.resize(states_.size());
  next.reports.resize(states_.size());
  next.moments = std::move(known_.moments);
  if (space_.has_end_losses()) learn_from(known_.islands, next.moments);
  for (int rank = 0; rank < comm_.size(); ++rank) {
    read_records(exchange_.from(rank), space_.modules.size(), next.islands, next.reports);
  }
  known_ = std::move(next);
  publish();
}

void Evolution::publish() {
  if (!comm_.is_root() || !observer_.generation || observer_failed_) return;
  const PhaseScope writing(times_, "writing");
  std::exception_ptr failure;
  try {  // also where another rank has failed: the generation is complete
    observer_.generation(known_, options_.topology.after(known_.generation));
  } catch (...) {
    failure = std::current_exception();
  }
  observer_failed_ = failure != nullptr;
  if (failure) board_.attempt([&] { std::rethrow_exception(failure); });
}

std::optional<std::vector<Assignment>> Evolution::immigrants(std::int64_t island) {
  std::vector<Assignment> arrived;
  const auto migrations = options_.topology.after(generation_ - 1);
  if (migrations.empty()) return arrived;
  if (!finish_exchange()) return std::nullopt;
  for (const Migration& migration : migrations) {
    if (migration.to != island) continue;
    const auto& elites = known_.islands[static_cast<std::size_t>(migration.from)].elites;
    for (std::size_t i = 0; i < std::min(elites.size(), static_cast<std::size_t>(migration.count)); ++i) {
      arrived.push_back(elites[i].assignment);
    }
  }
  return arrived;
}

void Evolution::learn_from(const std::vector<IslandState>& islands, SurrogateMoments& moments) const {
  std::vector<MeasuredStage> all;
  for (const IslandState& island : islands)
    all.insert(all.end(), island.measured.begin(), island.measured.end());
  learn(space_, all, moments);
}

/// Of what all islands have measured up to two generations ago, and this one in the last: the same whether or
/// not the others' last generation is known here.
SurrogateMoments Evolution::moments_for(std::int64_t island) const {
  if (!space_.has_end_losses()) return {};
  SurrogateMoments moments = known_.moments;
  if (known_.generation + 1 < generation_) learn_from(known_.islands, moments);
  learn(space_, states_[static_cast<std::size_t>(island)].measured, moments);
  return moments;
}

/// One generation of this rank's islands; false where the search is to end.
bool Evolution::generation() {
  for (const std::int64_t island : dealing_.islands) {
    const auto at = static_cast<std::size_t>(island);
    GenerationReport report;
    const EvaluationSeconds before = evaluator_.seconds();
    waited_ = 0;
    bool fine = false;
    std::exception_ptr failure;
    try {
      fine = run_generation(
          space_, budget_, options_, pools_, island, generation_, moments_for(island),
          [&](const Assignment& base, std::span<const Assignment> candidates, const StageTokens& tokens) {
            return group_fitness(base, candidates, tokens);
          },
          [&] { return immigrants(island); }, states_[at], report);
    } catch (...) {
      failure = std::current_exception();  // comes on all ranks of the group at the same place
    }
    if (failure) {
      board_.attempt([&] { std::rethrow_exception(failure); });
      return false;
    }
    if (!fine) return false;
    const EvaluationSeconds after = evaluator_.seconds();
    report.seconds = {after.switching - before.switching, after.training - before.training,
                      after.layers - before.layers, after.head - before.head};
    report.wait_seconds = waited_;
    reports_[at] = report;
  }
  if (!finish_exchange()) return false;
  std::vector<std::byte> mine;
  if (group_.is_root()) mine = write_records(dealing_.islands, states_, reports_);
  exchange_.start(mine);
  records_pending_ = true;
  exchanged_ = generation_;
  return true;
}

/// Brings values that are dealt over the ranks (value i to rank i mod size) to all of them. False on all
/// ranks where any of them does not say that its own are `fine`: its notice of failure may come later than
/// these.
bool Evolution::exchange_values(bool fine, const std::vector<double>& mine, std::size_t count,
                                std::vector<double>& all) {
  std::vector<double> given = {fine ? 1.0 : 0.0};
  given.insert(given.end(), mine.begin(), mine.end());
  exchange_.start(std::as_bytes(std::span(given)));
  if (!wait()) return false;
  const auto value = [&](std::size_t rank, std::size_t place) {
    double found = 0;
    std::copy_n(
        exchange_.from(static_cast<int>(rank)).begin() + static_cast<std::ptrdiff_t>(place * sizeof(double)),
        sizeof(double), std::as_writable_bytes(std::span(&found, 1)).begin());
    return found;
  };
  const auto ranks = static_cast<std::size_t>(comm_.size());
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    if (value(rank, 0) != 1.0) return false;
  }
  all.resize(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = value(i % ranks, 1 + i / ranks);
  return true;
}

bool Evolution::compare() {
  if (!finish_exchange()) return false;
  // The parents are measured as the last stage measured them, only on more tokens.
  const StageTokens tokens{
      draw_tokens(pools_.compared, options_.compare_tokens, stream(options_.seed, 0, 0, 0, Draw::comparison)),
      draw_tokens(pools_.training, options_.stages.back().training_tokens,
                  stream(options_.seed, 0, 0, 0, Draw::comparison_training))};
  std::vector<Assignment> parents;
  for (std::size_t i = static_cast<std::size_t>(comm_.rank()); i < known_.islands.size();
       i += static_cast<std::size_t>(comm_.size())) {
    parents.push_back(known_.islands[i].elites.front().assignment);
  }
  std::vector<double> mine;
  bool fine = !stop();
  if (fine && !parents.empty()) {
    fine = false;
    board_.attempt([&] {
      const PhaseScope evaluating(times_, "evaluating");
      const auto found = evaluator_.fitness(parents.front(), parents, tokens, [&] { return stop(); });
      if (!found) return;
      mine = *found;
      fine = true;
    });
  }
  Comparison comparison;
  if (!exchange_values(fine, mine, known_.islands.size(), comparison.fitness)) return false;
  if (!std::isfinite(comparison.fitness[comparison.best()])) {  // so on all ranks
    board_.attempt([&] {
      throw NumericalError(fmt::format("no island's best has a finite fitness on the common tokens in "
                                       "generation {}",
                                       known_.generation),
                           "search", "use --precision fp32, or other calibration data");
    });
    return false;
  }
  const Assignment& best = known_.islands[comparison.best()].elites.front().assignment;
  mine.clear();
  for (std::size_t i = static_cast<std::size_t>(comm_.rank()); i < evaluator_.extra_items;
       i += static_cast<std::size_t>(comm_.size())) {
    if (stop()) break;
    const PhaseScope evaluating(times_, "evaluating");
    board_.attempt([&] { mine.push_back(evaluator_.extra(best, i)); });
  }
  if (evaluator_.extra_items > 0 &&
      !exchange_values(!board_.failed(), mine, evaluator_.extra_items, comparison.extra)) {
    return false;
  }
  if (comm_.is_root()) {
    board_.attempt([&] {
      const PhaseScope writing(times_, "writing");
      if (observer_.comparison) observer_.comparison(known_, comparison);
    });
  }
  return true;
}

bool Evolution::comparison_due(std::int64_t generation) const {
  return generation >= options_.generations ||
         (options_.eval_every > 0 && generation > 0 && generation % options_.eval_every == 0);
}

Population Evolution::run() {
  generation_ = known_.generation;
  // A search that is taken up again begins with the comparison that was due.
  bool going = !comparison_due(generation_) || compare();
  while (going && generation_ < options_.generations) {
    ++generation_;
    going = generation() && (!comparison_due(generation_) || compare());
  }
  const PhaseScope waiting(times_, "waiting");
  if (exchange_.abandon() && records_pending_) take_in();
  next_chunk_.reset();  // here, where all ranks come, and not on the way of an exception
  board_.settle();
  return std::move(known_);
}

}  // namespace

Population initial_population(const SearchSpace& space, const Budget& budget,
                              const EvolutionOptions& options) {
  Population population;
  for (std::int64_t island = 0; island < options.islands; ++island) {
    // Random search has no knowledge to begin with; where the others begin is a good assignment.
    RandomStream random = stream(options.seed, island, 0, 0, Draw::offspring);
    IslandState state;
    state.elites.push_back({options.strategy == Strategy::random
                                ? random_assignment(space, budget, random)
                                : start_of_island(space, budget, options.start, options.seed, island),
                            0.0});
    population.islands.push_back(std::move(state));
  }
  return population;
}

Population evolve(const Communicator& comm, const SearchSpace& space, const Budget& budget,
                  const EvolutionOptions& options, const TokenPools& pools, Population start,
                  const Evaluator& evaluator, const Observer& observer,
                  const std::function<std::optional<std::string>()>& interrupted, PhaseTimes* times) {
  return Evolution(comm, space, budget, options, pools, std::move(start), evaluator, observer, interrupted,
                   times)
      .run();
}

}  // namespace galapagos
