#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/report/run_data.hpp>

// How a search scales: the same one on more ranks, in replicas of more shards, with other populations.
namespace galapagos::report {

/// A run of a study that has come to its end.
struct StudyRow {
  std::string run, strategy;
  std::int64_t islands = 0, offspring = 0, ranks = 0, shards = 1, seed = 0, evaluations = 0;
  double seconds = unknown, node_hours = unknown, fitness = unknown;
  double held_out = unknown;   ///< KL on text that the search has not seen
  double diversity = unknown;  ///< modules in which two islands' best differ at the end
  double waiting = unknown;    ///< share of the time

  /// On held-out text where that was measured.
  double quality() const { return held_out == held_out ? held_out : fitness; }
  std::int64_t population() const { return islands * offspring; }
  /// Rank-seconds of one candidate.
  double cost() const { return static_cast<double>(ranks) * seconds / static_cast<double>(evaluations); }
};

/// results.csv as tools/scaling_study.py writes it; rows that are none are left out.
std::vector<StudyRow> read_study(const std::filesystem::path& file);

/// Of the searches among `runs` that have ended, what their manifests say.
std::vector<StudyRow> study_of(const std::vector<RunData>& runs);

/// Whether there is a series to draw: one search on several numbers of ranks or shards, or three populations.
bool is_study(const std::vector<StudyRow>& rows);

/// The names of runs of the same search that came to different results, which ranks never change (shards may:
/// they round otherwise).
std::vector<std::vector<std::string>> differing_results(const std::vector<StudyRow>& rows);

/// One run of each search: that on the fewest ranks.
std::vector<StudyRow> on_fewest_ranks(std::vector<StudyRow> rows);

/// The same searches, but for the ranks: by their numbers of ranks, with the mean cost of a candidate.
struct ScalingSeries {
  std::string name;
  struct Point {
    std::int64_t ranks = 0;
    double seconds = 0, efficiency = 1;  ///< seconds of a candidate; efficiency against the fewest ranks
  };
  std::vector<Point> points;
};
/// The population stays as it is (strong), or grows as the ranks do (weak).
std::vector<ScalingSeries> strong_scaling(const std::vector<StudyRow>& rows);
std::vector<ScalingSeries> weak_scaling(const std::vector<StudyRow>& rows);

/// The number of modules in which two islands' best differ, on average, after each generation.
std::vector<std::pair<std::int64_t, double>> diversity_of(const RunData& run);

}  // namespace galapagos::report
