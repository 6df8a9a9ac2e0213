#pragma once

#include "command.hpp"
#include "plan_machine.hpp"

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

// Which commands are planned, on what, and what each of them is asked.
namespace galapagos::app {

/// Those that have a plan, in the order in which they are run.
inline constexpr std::array plan_names = {"sensitivity", "database", "search", "stitch",
                                          "distil",      "train",    "eval",   "generate"};

/// What `plan` itself is asked.
struct PlanRequest : ComputingOptions {
  std::optional<std::string> command;
  std::int64_t ranks = 0;
  Machine machine;
  double peak = 0, bandwidth = 0, network = 0, disk = 0;  ///< as they are given
  std::optional<std::filesystem::path> machine_file;
  bool strict = false, json = false;
};

void bind(Options& list, PlanRequest& request);
/// Those of the machine alone.
void bind_machine(Options& list, PlanRequest& request);

/// The options of all commands, each of which has got its part of the words.
struct Commands {
  Asked<PlanRequest> plan;
  Asked<SensitivityOptions> sensitivity;
  Asked<DatabaseOptions> database;
  Asked<SearchOptions> search;
  Asked<StitchRequest> stitch;
  Asked<DistilOptions> distil;
  Asked<TrainOptions> train;
  Asked<EvalRequest> eval;
  Asked<GenerateRequest> generate;
  std::vector<std::string> planned;

  Options& of(const std::string& name);
};

/// Which commands are named among the words, before these can be parsed. UsageError where there is no plan of
/// it.
std::vector<std::string> planned_commands(const std::vector<std::string>& words);

/// Each option with the words behind it, and bare words before any.
std::vector<std::vector<std::string>> grouped(const std::vector<std::string>& words);
/// The name of such a group's option; empty for bare words.
std::string option_of(const std::vector<std::string>& group);

/// The words, and those of --machine FILE where they do not say it themselves: an INI file with what options
/// of `plan` say of the machine, and with `ranks-per-node`, of which --ranks is made.
std::vector<std::string> with_machine_file(const std::vector<std::string>& words);

/// The words of each command. An option of `plan` goes to all that have it; any other to the commands that
/// are planned, or where none of them has it to those that they build on. UsageError where nobody has it.
std::map<std::string, std::vector<std::string>> dealt_words(Commands& commands,
                                                            const std::vector<std::string>& words);

/// UsageError where it makes no sense.
Machine read_machine(const PlanRequest& request);

}  // namespace galapagos::app
