#pragma once

#include "command.hpp"

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/core/own_files.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/run_lock.hpp>
#include <galapagos/core/stop_rule.hpp>

// What commands share whose steps are other commands, run by all ranks one after the other: `rounds` and
// `prune`. What a step has left behind stays, so that the same way gone again passes over it.
namespace galapagos::app {

using Words = std::vector<std::string>;

/// What these commands are asked for.
struct StepsRequest : RunOptions {
  Words calibration, held_out;
  std::int64_t calibration_tokens = 0;
  SizeTarget target;
};

/// Binds all but the target and what a command computes with; with the help for two options.
void bind_steps(Options& list, StepsRequest& request, const char* held_out, const char* output,
                bool needs_held_out);

/// The words of the steps, from the options of the command that takes them: what was given there is handed
/// on, and goes before what stands in a step's own section.
class StepWords {
 public:
  explicit StepWords(const Options& options) : options_(options) {}

  /// `own`, and what a step does that computes, on no text.
  Words computing(Words own) const;
  /// The same on the calibration text; the number of its tokens is the command's only with `all_tokens`.
  Words on_calibration(Words own, bool all_tokens) const;
  /// The same for a step that calls the text --data, and its length --tokens.
  Words on_data(Words own) const;
  /// `own` and the log level.
  Words quiet(Words own) const;
  void add_target(Words& words) const;

 private:
  void add_where_given(Words& words, const char* name, const std::string& as) const;
  void add_calibration(Words& words, const char* as) const;

  const Options& options_;
};

/// UsageError where a step's section of the config file says what the command tells its steps itself: files,
/// whether to go on, and `names`.
void refuse_in_section(const Options& section, const std::string& title,
                       std::initializer_list<const char*> names);

/// UsageError where that is not one of the `choices`.
void check_target(const SizeTarget& target, const std::string& command, const std::string& choices);

/// What decides on what is found: options, of which these come first, and the config file's text.
std::string identity_of_steps(const Options& options);

/// Of a command whose steps are others: how its folder is known.
struct StepsFolder {
  std::string what;                  ///< as "run of rounds"
  std::string key;                   ///< that its identity has and no other's
  std::vector<std::string> results;  ///< what a run of this kind is to leave there
  std::string complete;              ///< what is there once there is no more to do; empty: nothing says so
  OwnFiles files;                    ///< that --fresh removes
};

/// On the root: makes `output` with what tells this run from others, or sees that it belongs to it, as far as
/// --resume and --fresh allow. InputError where it is another's, or has one of the `results` without it; and
/// where a text is missing.
void open_steps(const StepsRequest& request, const std::string& identity, const StepsFolder& folder);

/// Of a sensitivity, a database and what is assigned of it, in one folder.
OwnFiles step_files();

/// Runs steps. All functions are collective.
class Steps {
 public:
  Steps(const Communicator& world, const StepsRequest& request, std::string what);

  bool exists(const std::filesystem::path& path) const;
  void make_folder(const std::filesystem::path& folder) const;
  /// StoppedEarly after a signal or near the end of --max-walltime: for steps that do not look themselves.
  void stop_where_asked() const;
  /// With --max-walltime, what is left of it.
  Words with_limit(Words words) const;
  /// Runs a command that writes the file `output` by way of a part file, unless it has done so.
  void run_or_resume(Command command, Words words, const std::filesystem::path& output) const;

  const Communicator& world() const { return world_; }

 private:
  const Communicator& world_;
  const StepsRequest& request_;
  std::string what_;
  StopRule stop_;
  Stopwatch watch_;
};

/// A model on the text of --held-out.
struct HeldOut {
  double kl = 0, perplexity = 0;
  std::int64_t parameters = 0;
};

/// Collective. Measures a model, whole or by its assignment, against the unpruned one, unless the file
/// `known` says what was found before; writes it. The log gives it `name`.
HeldOut measure_held_out(const Steps& steps, const ops::Context& context, const StepsRequest& request,
                         const NamedModel& model, const NamedModel& dense, const std::filesystem::path& known,
                         const std::string& name);

}  // namespace galapagos::app
