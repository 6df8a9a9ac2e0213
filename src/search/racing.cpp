#include "dealing.hpp"
#include "heat_board.hpp"
#include "race_announcements.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <thread>

#include <galapagos/comm/failure_board.hpp>
#include <galapagos/comm/shared_counter.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/search/racing.hpp>

namespace galapagos {
namespace {

// Generations that an island may be behind another one beyond its lag, before the other one waits.
constexpr std::int64_t slack = 2;
// Between two looks of a rank without work, longer and longer.
constexpr auto shortest_pause = std::chrono::microseconds(200),
               longest_pause = std::chrono::microseconds(2000);

/// Trials of a heat that a rank measures in one call.
struct Chunk {
  std::int64_t generation = 0;
  std::vector<std::size_t> trials;
};

/// An island of this rank's.
struct OwnIsland {
  Race race;
  std::int64_t island = 0, proposed = 0, accepted = 0;
  std::map<std::int64_t, Heat> heats;  // not accepted yet
  std::vector<Chunk> chunks;
  std::size_t next_chunk = 0;  // where no other rank has this island
};

class Islands {
 public:
  Islands(const Communicator& comm, const SearchSpace& space, const EvolutionOptions& options,
          const Racing& racing, const std::vector<Assignment>& starts, PhaseTimes* times)
      : space_(space),
        options_(options),
        racing_(racing),
        times_(times),
        all_(comm.duplicate()),
        dealing_(comm.rank(), comm.size(), options.islands),
        group_(all_.split(dealing_.group, comm.rank())),
        board_(all_),
        announcements_(all_, group_),
        tickets_(all_, group_),
        known_(options.islands) {
    for (const std::int64_t island : dealing_.islands) {
      const auto at = static_cast<std::size_t>(island);
      own_.push_back(
          {Race(space, racing.budgets[at % racing.budgets.size()], options, racing.blocks, island, starts[at],
                racing.near.empty() ? EndLosses() : racing.near[at % racing.near.size()]),
           island,
           0,
           0,
           {},
           {}});
      if (!racing.known.challengers.empty())
        own_.back().race.know(racing.known.heats, racing.known.challengers[at]);
    }
    for (const MeasuredTrial& trial : racing.saved) known_.add(trial, true);
  }

  std::vector<Standing> run();

 private:
  bool stop();
  void hear();
  void take_in(const std::vector<std::byte>& message);
  void record(const MeasuredTrial& trial);
  void know(const Standing& standing);
  bool advance(OwnIsland& own);
  std::optional<News> news_for(const OwnIsland& own, std::int64_t generation) const;
  void propose(OwnIsland& own, const News& news);
  void accept(OwnIsland& own);
  bool work();
  OwnIsland* next_island(std::size_t& chunk);
  void watch(const Standing& standing);
  void measure(OwnIsland& own, const Chunk& chunk);

  const SearchSpace& space_;
  const EvolutionOptions& options_;
  const Racing& racing_;
  PhaseTimes* times_;
  const Communicator all_;
  const Dealing dealing_;
  const Communicator group_;
  FailureBoard board_;
  RaceAnnouncements announcements_;
  SharedCounter tickets_;
  HeatBoard known_;
  std::vector<OwnIsland> own_;
  std::int64_t forgotten_ = 0;  // generations that no island here is to hear of any more
  std::optional<std::size_t> ticket_;
  std::string unrecorded_;  // lines, on the root
};

/// Whether this rank is to stop working, as in Evolution.
bool Islands::stop() {
  if (all_.is_root()) board_.attempt([&] { hear(); });
  if (board_.failed()) return true;
  if (const auto reason = racing_.interrupted()) {
    board_.attempt([&] {
      throw StoppedEarly(fmt::format("stopped by {} in generation {}", *reason, own_.front().accepted + 1),
                         "search", go_on);
    });
  }
  return board_.failed();
}

void Islands::hear() {
  while (const auto message = announcements_.next()) take_in(*message);
  if (unrecorded_.empty()) return;
  racing_.measured(std::exchange(unrecorded_, {}));
}

void Islands::take_in(const std::vector<std::byte>& message) {
  const RaceMessage told = race_message_of(message, space_);
  for (const MeasuredTrial& trial : told.trials) {
    known_.add(trial, false);
    record(trial);
  }
  if (told.standing) know(*told.standing);
  if (told.watched && racing_.watched) racing_.watched(*told.watched);
}

void Islands::record(const MeasuredTrial& trial) {
  if (all_.is_root() && racing_.measured) unrecorded_ += to_line(trial) + "\n";
}

void Islands::know(const Standing& standing) {
  if (known_.add(standing) && all_.is_root() && racing_.standing) racing_.standing(standing);
}

/// What the islands of all others came to so long ago that it is known, or nothing where it is not yet.
std::optional<News> Islands::news_for(const OwnIsland& own, std::int64_t generation) const {
  News news;
  const std::int64_t then = generation - (options_.racing.lag + 1 + slack);
  if (then < 1) return news;
  for (std::int64_t island = 0; island < options_.islands; ++island) {
    if (!known_.complete(island, then)) return std::nullopt;
  }
  for (std::int64_t island = 0; island < options_.islands; ++island) {
    if (island == own.island) continue;
    news.heats.push_back(&known_.heat(island, then));
    news.incumbents.push_back(known_.standing(island, then).incumbent);
  }
  for (const Migration& migration : options_.topology.after(then)) {
    if (migration.to == own.island)
      news.immigrants.push_back(known_.standing(migration.from, then).incumbent);
  }
  return news;
}

/// Proposes or accepts the next generation where all is known that it follows from. The order of the two is
/// always the same: a generation is accepted once all are proposed that may begin before it has ended.
bool Islands::advance(OwnIsland& own) {
  const std::int64_t ahead = std::min(options_.generations, own.accepted + 1 + options_.racing.lag);
  if (own.proposed < ahead) {
    const auto news = news_for(own, own.proposed + 1);
    if (news) propose(own, *news);
    return news.has_value();
  }
  if (own.accepted == own.proposed || !known_.measured(own.island, own.heats.at(own.accepted + 1)))
    return false;
  accept(own);
  return true;
}

void Islands::propose(OwnIsland& own, const News& news) {
  Heat heat = own.race.propose(++own.proposed, news);
  if (!known_.fits(heat)) {
    throw InputError(
        fmt::format("generation {} of island {} was measured with other candidates than now: on other "
                    "shards, another device or by another version",
                    heat.generation, own.island),
        "archive.jsonl", "go on as it was begun, or begin anew with --fresh");
  }
  std::vector<Assignment> left;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < heat.trials.size(); ++i) {
    if (known_.saved(heat, i)) continue;
    left.push_back(heat.trials[i].assignment);
    places.push_back(i);
  }
  for (const std::vector<std::size_t>& some : make_chunks(left, heat.incumbent, group_.size(), false)) {
    Chunk chunk{heat.generation, {}};
    for (const std::size_t i : some) chunk.trials.push_back(places[i]);
    own.chunks.push_back(std::move(chunk));
  }
  own.heats.emplace(heat.generation, std::move(heat));
  std::int64_t least = own.proposed;
  for (const OwnIsland& other : own_) least = std::min(least, other.proposed);
  while (forgotten_ < least - (options_.racing.lag + 1 + slack)) known_.forget(++forgotten_);
}

void Islands::accept(OwnIsland& own) {
  const auto heat = own.heats.find(++own.accepted);
  const MeasuredHeat measured = known_.measured_heat(heat->second);
  const Standing standing = own.race.accept(measured);
  own.heats.erase(heat);
  if (standing.blocks > 0 && !std::isfinite(standing.loss)) {
    throw NumericalError(
        fmt::format("neither the incumbent of island {} nor a challenger has a finite loss in generation {}",
                    own.island, own.accepted),
        "search", "use --precision fp32, or other calibration data");
  }
  if (group_.is_root()) announcements_.tell(measured, standing);
  know(standing);
  if (group_.is_root()) watch(standing);
}

/// By one rank alone, as nobody waits for it.
void Islands::watch(const Standing& standing) {
  const Watching& watching = racing_.watching;
  if (!watching.due(standing.island, standing.generation, options_.generations)) return;
  const PhaseScope evaluating(times_, "evaluating");
  const TokenDraw& draw = *watching.draw;
  const Assignment& incumbent = standing.incumbent;
  const auto found = racing_.losses(incumbent, std::span(&incumbent, 1), draw, [&] { return stop(); });
  if (!found) return;
  const std::vector<double> sums = segment_sums(found->front(), draw);
  const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  const Watched watched{standing.island, standing.generation, sum / static_cast<double>(draw.predicted())};
  if (!all_.is_root()) return announcements_.tell(watched);
  if (racing_.watched) racing_.watched(watched);
}

/// The island whose next chunk is this rank's to measure, if it is known yet.
OwnIsland* Islands::next_island(std::size_t& chunk) {
  if (group_.size() > 1) {
    OwnIsland& own = own_.front();
    if (!ticket_) ticket_ = static_cast<std::size_t>(tickets_.take());
    if (*ticket_ >= own.chunks.size()) return nullptr;
    chunk = *ticket_;
    ticket_.reset();
    return &own;
  }
  OwnIsland* next = nullptr;  // the one that is least far
  const auto generation = [](const OwnIsland& own) { return own.chunks[own.next_chunk].generation; };
  for (OwnIsland& own : own_) {
    if (own.next_chunk == own.chunks.size()) continue;
    if (next == nullptr || generation(own) < generation(*next)) next = &own;
  }
  if (next != nullptr) chunk = next->next_chunk++;
  return next;
}

bool Islands::work() {
  std::size_t chunk = 0;
  OwnIsland* own = next_island(chunk);
  if (own == nullptr) return false;
  measure(*own, own->chunks[chunk]);
  return true;
}

void Islands::measure(OwnIsland& own, const Chunk& chunk) {
  const PhaseScope evaluating(times_, "evaluating");
  const Heat& heat = own.heats.at(chunk.generation);
  std::vector<Assignment> candidates;
  for (const std::size_t i : chunk.trials) candidates.push_back(heat.trials[i].assignment);
  const TokenDraw& draw = racing_.blocks[static_cast<std::size_t>(heat.block)];
  const auto found = racing_.losses(heat.incumbent, candidates, draw, [&] { return stop(); });
  if (!found) return;
  RaceMessage message;
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const std::size_t i = chunk.trials[c];
    MeasuredTrial measured{own.island, heat.generation, static_cast<std::int64_t>(i),
                           heat.block, heat.trials[i],  segment_sums((*found)[c], draw)};
    for (double& sum : measured.sums) {  // as it would be read from the archive
      if (!std::isfinite(sum)) sum = std::numeric_limits<double>::quiet_NaN();
    }
    known_.add(measured, false);
    record(measured);
    message.trials.push_back(std::move(measured));
  }
  announcements_.tell(message);
}

std::vector<Standing> Islands::run() {
  auto pause = shortest_pause;
  while (!known_.all_complete(options_.generations) && !stop()) {
    board_.attempt([&] {
      hear();
      bool moved = false;
      for (OwnIsland& own : own_) {
        while (advance(own)) moved = true;
      }
      if (work() || moved) {
        pause = shortest_pause;
        return;
      }
      const PhaseScope waiting(times_, "waiting");
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, longest_pause);
    });
  }
  const PhaseScope waiting(times_, "waiting");
  const auto rest = announcements_.settle();
  std::exception_ptr failure;
  try {  // also where another rank has failed: it was measured
    for (const auto& message : rest) take_in(message);
    if (!unrecorded_.empty()) racing_.measured(std::exchange(unrecorded_, {}));
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) board_.attempt([&] { std::rethrow_exception(failure); });
  board_.settle();
  std::vector<Standing> last;
  for (std::int64_t island = 0; island < options_.islands; ++island)
    last.push_back(known_.standing(island, options_.generations));
  if (racing_.others > 0) {
    std::vector<std::vector<Assignment>> mine;
    for (const OwnIsland& own : own_) mine.push_back(own.race.best_challengers(racing_.others));
    share_others(all_, group_, mine, last);
  }
  return last;
}

}  // namespace

std::vector<Standing> race(const Communicator& comm, const SearchSpace& space,
                           const EvolutionOptions& options, const Racing& racing,
                           const std::vector<Assignment>& starts, PhaseTimes* times) {
  return Islands(comm, space, options, racing, starts, times).run();
}

}  // namespace galapagos
