#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/core/lock_holder.hpp>

// What a run's folder holds, as far as it is there and can be read. Numbers that are not there are NaN or -1.
namespace galapagos::report {

inline constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// The level of every module, layer by layer, attention first.
using Levels = std::vector<std::int16_t>;
/// Numbers under their names, in the order of the file.
using NamedNumbers = std::vector<std::pair<std::string, double>>;
/// An island and a generation: the key of what a search says of both.
struct Place {
  std::int64_t generation = 0, island = 0;
  auto operator<=>(const Place&) const = default;
};

/// What is pruned: attention or the feed-forward part of a layer, or that of an expert.
enum class Part : std::uint8_t { attention, ffn };
struct Module {
  std::int64_t layer = 0;
  Part part = Part::attention;
  std::int64_t expert = -1;  ///< -1: of no mixture
  auto operator<=>(const Module&) const = default;
};

/// A line of config.ini.
struct GivenOption {
  std::string name, value, source;  ///< source: "default", "command line", "configuration file"
};

/// What a search says of an island after a generation.
struct IslandLine {
  std::int64_t evaluations = -1, tokens = -1, immigrants = 0;
  double best = unknown, mean = unknown, elapsed = unknown;
  double rank_correlation = unknown, surrogate_rank_correlation = unknown;
  bool improved = false;
  NamedNumbers seconds;  ///< where the generation's time went
  Levels levels;         ///< of a race's incumbent
};

/// The islands' best, compared on the same tokens.
struct ComparisonLine {
  std::int64_t best_island = -1;
  double fitness = unknown;
  NamedNumbers perplexity;
};

/// An update of a training.
struct UpdateLine {
  std::int64_t step = -1, tokens = -1;
  double loss = unknown, learning_rate = unknown, tokens_per_second = unknown, elapsed = unknown;
};

/// What a training says of texts that it does not see.
struct PerplexityLine {
  std::int64_t step = -1;
  NamedNumbers perplexity;
};

/// A layer that was distilled.
struct LayerLine {
  std::int64_t layer = -1;
  std::string kept;
  NamedNumbers held_out;  ///< of each state that was tried, the first is what it began with
  double chosen = unknown;
};

struct MigrationLine {
  std::int64_t generation = -1, from = -1, to = -1;
  double fitness = unknown;
};

/// An island's incumbent on what is held back.
struct WatchedLine {
  std::int64_t generation = -1, island = -1;
  double fitness = unknown;
};

/// A size of a front.
struct FrontLine {
  double sparsity = unknown, fitness = unknown, perplexity = unknown;
  std::int64_t parameters = -1;
  std::string file;
  Levels levels;
};

/// A stage of `prune`, a round, or a model of comparison.json.
struct ModelLine {
  std::string name;
  std::int64_t parameters = -1;
  double kl = unknown, perplexity = unknown;
};

/// Where the time went, over the ranks.
struct PhaseLine {
  std::string name;
  double least = unknown, mean = unknown, most = unknown, share = unknown;
};

/// What a part of a run has cost.
struct BillLine {
  std::string command, ended, at;
  double seconds = unknown, nodes = unknown, ranks = unknown, node_hours = unknown;
  double gpus = unknown, gpu_hours = unknown;
  NamedNumbers joules;  ///< by what took them
};

/// A candidate as it was measured in the first stage, beside what was expected of it.
struct CandidatePoint {
  std::int64_t generation = -1;
  double fitness = unknown, predicted = unknown, surrogate = unknown;
};

/// The best of an island after a generation.
struct ParentLine {
  double fitness = unknown;
  std::string origin;  ///< empty where nothing says so
  Levels levels;
};

/// A step of a run of several, as `stage-1/distil`.
struct StepLine {
  std::string name;
  bool done = false;
};

/// Whether a run lives, by its lock and its files.
struct Life {
  bool locked = false;
  LockHolder holder = LockHolder::is_none;
  std::string held_by;             ///< "process 17 on node1, ..."
  double since_beat = unknown;     ///< seconds
  double since_written = unknown;  ///< seconds since a line was added
};

struct RunData {
  std::filesystem::path folder;
  std::string name, command;  ///< command: "search", "train", ...; empty where nothing says so
  std::vector<GivenOption> options;
  bool has_manifest = false;
  /// Of manifest.json, members of members as "best.fitness"; without phases.
  NamedNumbers manifest_numbers;
  std::vector<std::pair<std::string, std::string>> manifest_texts;
  std::map<Place, IslandLine> islands;                 // of a search
  std::map<std::int64_t, ComparisonLine> comparisons;  // by generation
  std::vector<UpdateLine> updates;                     // of a training
  std::vector<PerplexityLine> perplexities;
  std::vector<LayerLine> layers;  // of a distillation
  std::vector<MigrationLine> migrations;
  std::vector<WatchedLine> watched;
  std::vector<FrontLine> front;
  std::vector<ModelLine> models;
  std::vector<PhaseLine> phases;
  std::vector<BillLine> bill;
  std::vector<Module> modules;  ///< in the order of Levels; empty where no assignment says which there are
  Levels best, start, uniform;
  std::vector<double> learned;          // levels by gradient
  std::map<Place, ParentLine> parents;  // read_candidates()
  std::vector<CandidatePoint> candidates;
  std::int64_t candidate_lines = 0;
  std::vector<StepLine> steps;  // of prune, rounds
  std::int64_t unreadable_lines = 0;
  Life life;

  /// What config.ini says, else the empty text.
  std::string option(const std::string& name) const;
  /// The same as a number; NaN.
  double option_number(const std::string& name) const;
  /// The same of manifest.json, members of members as "best.fitness".
  double manifest_number(const std::string& name) const;
  std::string manifest_text(const std::string& name) const;
  /// Numbers of the islands that there are.
  std::vector<std::int64_t> island_numbers() const;
  /// The last generation that any island has done; 0.
  std::int64_t last_generation() const;
  /// Whether it has come to its end.
  bool ended() const;
  /// Seconds of work so far, as the run counts them; NaN.
  double seconds() const;
  /// Node-hours of all its parts; NaN where no bill says so.
  double node_hours() const;
};

/// Energy of a part of a run: of its nodes where that is known, else of the parts of them that are; 0 where
/// nothing is.
double joules_of(const BillLine& part);

/// All islands together after a generation that all have done.
struct TogetherPoint {
  std::int64_t generation = 0, evaluations = 0;
  double elapsed = 0, mean_best = 0, best = 0;
};
std::vector<TogetherPoint> together(const RunData& run);

}  // namespace galapagos::report
