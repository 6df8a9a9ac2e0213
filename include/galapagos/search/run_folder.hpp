#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/core/own_files.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/search/evolution.hpp>
#include <galapagos/search/search_checkpoint.hpp>

namespace galapagos {

/// What a search leaves behind: config.ini, manifest.json, metrics.jsonl, candidates.jsonl,
/// archive.jsonl, migrations.csv, watched.csv, choices.jsonl, checkpoint.h5, best.txt, uniform.txt,
/// start.txt, levels.json, latency.csv. Used on one rank.
class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  /// What an earlier search has left, complete only where a manifest says so; InputError where it is of
  /// another kind of run.
  Found found() const;
  /// Whether the manifest is that of a search which has ended after so many generations.
  bool ended_after(std::int64_t generations) const;
  /// For --fresh: removes a search's files, see clear_run().
  void clear(bool only_check) const;
  /// Makes the folder for a new search; InputError where it holds one already.
  void begin(const std::string& config_ini) const;

  /// The last checkpoint, or the one before where the last is damaged. InputError where there is none, where
  /// neither can be read, or where it belongs to another search than `identity`, naming the first difference.
  SearchCheckpoint resume(const SearchSpace& space, const std::string& identity, std::int64_t islands) const;
  /// Drops what metrics.jsonl, candidates.jsonl and migrations.csv say of generations after `generation`:
  /// they will be run again.
  void rewind(std::int64_t generation) const;

  /// checkpoint.h5, the previous one kept as checkpoint.previous.h5.
  void save(const SearchCheckpoint& checkpoint) const;
  void append_metrics(const std::vector<Json>& lines) const;
  /// candidates.jsonl: what was measured in the last generation.
  void append_candidates(const SearchSpace& space, const Population& population) const;
  void append_migrations(const Population& population, std::span<const Migration> migrations) const;
  void write_best(const std::string& text) const;
  /// A file of a front, best-0.5.txt and so on, or front.csv; or latency.csv, the table of latencies with the
  /// whole models that were timed.
  void write_text(const std::string& name, const std::string& text) const;
  /// Empty where there is no such file.
  std::string read_text(const std::string& name) const;
  /// uniform.txt: the most even assignment, to compare with.
  void write_uniform(const std::string& text) const;
  /// start.txt: where the first island began.
  void write_start(const std::string& text) const;
  /// levels.json: those that --start gradient has learned so far; empty where there are none.
  void write_levels(const std::string& text) const;
  std::string read_levels() const;
  /// archive.jsonl of a race: all that was measured, and what was added last.
  void append_archive(const std::string& lines) const;
  std::string read_archive() const;
  /// Drops half-written lines of races, comparisons, which are made again, and what is said of each island's
  /// last `lag` generations, which come to something else where more follow.
  void mend_races(std::int64_t lag) const;
  /// Islands and generations of which metrics.jsonl tells.
  std::set<std::pair<std::int64_t, std::int64_t>> told() const;
  /// watched.csv of a race: the fitness of an island's incumbent on so many tokens held back; islands and
  /// generations that are there.
  void append_watched(std::int64_t island, std::int64_t generation, double fitness,
                      std::int64_t tokens) const;
  std::set<std::pair<std::int64_t, std::int64_t>> watched() const;
  /// migrations.csv: that an island's best went to others.
  void append_migration(const Migration& migration, std::int64_t generation, double fitness) const;
  void write_manifest(const Json& manifest) const;

 private:
  std::filesystem::path path_;
};

/// What a search writes into its folder.
OwnFiles search_files();

}  // namespace galapagos
