#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/assignment/level_store.hpp>
#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/search/evolution_options.hpp>
#include <galapagos/search/replica.hpp>
#include <galapagos/search/size_target.hpp>
#include <galapagos/search/whole_time.hpp>

namespace galapagos {

/// Stages and topology as they are written; resolve() makes `evolution`'s of them.
struct SearchWords {
  std::string survivors = "8 4 2 1", tokens = "1024 2048 4096 8192", training_tokens = "0";
  std::string topology = "ring", migrants = "1";
  std::int64_t migration_interval = 10;
};

/// What `galapagos search` is asked for.
struct SearchOptions : RunOptions {
  std::filesystem::path database;
  std::vector<std::filesystem::path> calibration, eval_data;
  std::vector<std::filesystem::path>
      training_data;                    ///< to fine-tune candidates on; none: the calibration data
  std::int64_t calibration_tokens = 0;  ///< of the pool that stages draw from; 0: all there are
  std::filesystem::path choices;  ///< multiple-choice questions by which the end is chosen; may be empty
  SizeTarget target;
  std::vector<double> targets;  ///< sparsities of a front, ascending; empty: one size
  bool nested = false;          ///< each model of the front holds the smaller ones
  std::string start = "auto";   ///< see make_start()
  bool time_whole = true;       ///< time whole models for a target of latency, where that can be done here
  TimeWhole timer = whole_seconds;  ///< by which
  std::filesystem::path archive;    ///< of another race, whose measurements are not made again; may be empty
  Fitness fitness;
  FineTuning tuning;
  SearchWords words;
  EvolutionOptions evolution;
  int shards = 1;  ///< ranks of a replica
  MakeCollectives make_collectives = make_mpi_collectives;
  std::optional<LevelHome> level_cache;  ///< nothing: what fits
  std::string config_ini;                ///< the options as resolved, for the run's folder
};

void bind(Options& list, SearchOptions& options);

/// Of a race with questions: candidates that are compared at the end only to be asked them.
std::int64_t asked_of_races(const SearchOptions& options);

/// UsageError where a number is out of its range.
void check_options(const SearchOptions& options);
/// UsageError where something is asked for that there is not yet for mixtures of experts.
void check_mixture(const SearchOptions& options, const HfConfig& config);
/// Makes what stands in `words` to stages and topology, and islands for each of several targets, the first
/// of which the target then is. UsageError as check_options() and make_topology(), and where there are no
/// such stages.
void resolve(SearchOptions& options);

}  // namespace galapagos
