#pragma once

#include "choice_contest.hpp"
#include "eval_parts.hpp"
#include "setup.hpp"

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/front.hpp>
#include <galapagos/search/race.hpp>
#include <galapagos/search/run_folder.hpp>
#include <galapagos/search/strategy.hpp>
#include <galapagos/search/watched.hpp>

namespace galapagos {

/// Writes the run's folder as the search goes on, on rank 0.
class Recorder {
 public:
  Recorder(RunFolder folder, const SearchSetup& setup, int ranks, const std::vector<EvalPart>& parts,
           const SearchCheckpoint& start)
      : folder_(std::move(folder)),
        setup_(setup),
        ranks_(ranks),
        parts_(parts),
        spent_before_(start.seconds),
        generations_before_(start.population.generation) {}

  /// What learn() has written of levels so far; empty where there is nothing.
  std::string learned() const { return folder_.read_levels(); }
  void learn(const std::string& levels, const Population& start);
  /// Puts down where the islands begin, once that is known.
  void begin(const Population& start);

  void generation(const Population& population, std::span<const Migration> migrations);
  void comparison(const Population& population, const Comparison& comparison);

  /// Of races: what an earlier run has measured, and what is measured now.
  std::string measured() const { return folder_.read_archive(); }
  void measured(const std::string& lines) { folder_.append_archive(lines); }
  /// Of races, too: on what is held back.
  std::set<std::pair<std::int64_t, std::int64_t>> watched_before() const { return folder_.watched(); }
  void watched(const Watched& watched);
  /// How an island of a race stands that began at `start`.
  void standing(const Standing& standing, const Population& start);
  /// Of one size: the best, and a comparison of the islands' last.
  void end_races(const std::vector<Standing>& last, const Population& start, const FrontPoint& best,
                 Comparison comparison);
  /// The same of a front; `extra`: of each of its points.
  void end_front(const std::vector<Standing>& last, const Population& start,
                 const std::vector<FrontPoint>& front, const std::vector<double>& extra);
  /// The islands' last as they were compared, the best first.
  const std::vector<Candidate>& compared() const { return compared_; }
  /// What whole models took; `best` in place of what was the best before, where that missed the target.
  void timed(const Json& latency, const std::optional<Candidate>& best, std::span<const double> extra);
  /// How the questions at the end came out, before what is chosen by them: choices.jsonl, and the manifest.
  void choices(const std::vector<ChoiceContest>& contests);
  /// Adds where the time went to the manifest, and says how well losses were predicted.
  void finish(const RunReport& report);

 private:
  /// What all manifests begin with.
  void begin_manifest(const Population& population);
  /// The perplexity on each of the files to evaluate on, from the losses of their parts.
  Json perplexities(std::span<const double> extra) const;
  /// Where all islands of a race have come to.
  Population ended(const std::vector<Standing>& last, const Population& start);
  double elapsed() const { return spent_before_ + watch_.seconds(); }

  RunFolder folder_;
  const SearchSetup& setup_;
  int ranks_;
  const std::vector<EvalPart>& parts_;
  double spent_before_;
  Stopwatch watch_;
  std::string started_ = utc_now();
  std::int64_t generations_before_;
  std::optional<Progress> progress_;
  Json manifest_;
  Json choices_;  // of the manifest; null where no questions were asked
  std::vector<Candidate> compared_;
  RankSums ranks_so_far_, surrogate_ranks_so_far_;                       // of all islands
  std::optional<std::set<std::pair<std::int64_t, std::int64_t>>> told_;  // islands and generations of races
  std::map<std::int64_t, std::int64_t> islands_at_;                      // generations of a race
};

/// Collective. The checkpoint to go on from, or a new run's first where nothing was `found`; nothing where
/// the search has ended.
std::optional<SearchCheckpoint> open_run(const Communicator& comm, const RunFolder& folder,
                                         const SearchSetup& setup, const Strategy& strategy, Found found);

}  // namespace galapagos
