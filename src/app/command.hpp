#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/make_collectives.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/sensitivity.hpp>
#include <galapagos/search/search.hpp>
#include <galapagos/tensor/dtype.hpp>
#include <galapagos/training/distil.hpp>
#include <galapagos/training/train.hpp>

// What the subcommands share.
namespace galapagos::app {

/// A subcommand: all ranks run it with the words after its name.
using Command = void (*)(const Communicator& world, const std::vector<std::string>& words);

void sensitivity(const Communicator& world, const std::vector<std::string>& words);
void database(const Communicator& world, const std::vector<std::string>& words);
void eval(const Communicator& world, const std::vector<std::string>& words);
void assign(const Communicator& world, const std::vector<std::string>& words);
void rounds(const Communicator& world, const std::vector<std::string>& words);
void prune(const Communicator& world, const std::vector<std::string>& words);
void search(const Communicator& world, const std::vector<std::string>& words);
void stitch(const Communicator& world, const std::vector<std::string>& words);
void tokenize(const Communicator& world, const std::vector<std::string>& words);
void distil(const Communicator& world, const std::vector<std::string>& words);
void train(const Communicator& world, const std::vector<std::string>& words);
void plan(const Communicator& world, const std::vector<std::string>& words);
void info(const Communicator& world, const std::vector<std::string>& words);

/// The options of a command, and what they say but for files that it cannot do without; `plan` needs them
/// too.
Options declare_sensitivity();
SensitivityOptions read_sensitivity(const Options& options, int ranks);
/// Whether --from says kl; UsageError where it says neither that nor drawn.
bool from_divergence(const Options& options);
Options declare_database();
DatabaseOptions read_database(const Options& options);
Options declare_search();
SearchOptions read_search(const Options& options, int ranks);
Options declare_stitch();
StitchOptions read_stitch(const Options& options);
Options declare_eval();
EvaluationOptions read_evaluation(const Options& options);
Options declare_distil();
DistilOptions read_distil(const Options& options);
Options declare_train();
TrainOptions read_train(const Options& options, int ranks);

/// Declares --log-level, --threads, and with `computing` also --backend, --allow-gpu-sharing, --collectives,
/// --no-collectives-check, --precision, --batch-tokens, --memory-limit.
void declare_common(Options& options, bool computing);

/// Collective. Parses the words, starts logging, and serves --help and --print-config; false where the
/// command has nothing more to do.
bool begin(const Communicator& world, Options& options, const std::vector<std::string>& words);

/// Collective. The device that --backend asks for; where it is a GPU, each rank has taken one of its node,
/// and the log says which. ResourceError where two ranks would share one without --allow-gpu-sharing.
Device choose_device(const Communicator& world, const Options& options);

/// Collective. The context that --backend, --precision and --threads ask for, in which what --collectives
/// asks for can be had.
ops::Context make_context(const Communicator& world, const Options& options);

/// What --lanes says.
int lanes_of(const Options& options);

/// What --shards says. UsageError where the ranks do not divide by it.
int shards_of(const Options& options, int ranks);

/// Declares --target-level, --target-params, --target-sparsity.
void declare_target(Options& options);
/// What they say.
SizeTarget target_of(const Options& options);

/// What --collectives asks for; make_context() has seen to it that it can be had.
CollectivesKind collectives_of(const Options& options);
/// The same, for tensors of `context`, which must outlive the result; checked when they are made, but for
/// --no-collectives-check, on messages up to the hidden states of the largest batch.
MakeCollectives collectives_for(const ops::Context& context, const Options& options);

/// The precision asked for, or nothing for "auto".
std::optional<DType> precision_of(const Options& options);

std::vector<std::filesystem::path> paths_of(const std::vector<std::string>& names);

/// A model named by --model and, where they are given, --database and --assignment.
struct NamedModel {
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  std::optional<DatabaseReader> database;
  SearchSpace space;
  Assignment assignment;
  DType precision = DType::f32;

  /// The configuration with what the assignment leaves.
  HfConfig shape() const;
  /// Parameters of that, in all.
  std::int64_t parameters() const;
  /// All of it, or one of several shards' parts. `context` and this must outlive the result.
  ModelSource source(const ops::Context& context, int shard = 0, int shards = 1) const;
};

/// Collective. Opens a model and, where one is given, its database, but no assignment.
std::unique_ptr<NamedModel> open_modules(const Communicator& world, const std::filesystem::path& folder,
                                         const std::optional<std::string>& database);

/// Collective. Opens it all; UsageError where only one of --database and --assignment is given.
std::unique_ptr<NamedModel> open_model(const Communicator& world, const std::filesystem::path& folder,
                                       const std::optional<std::string>& database,
                                       const std::optional<std::string>& assignment,
                                       std::optional<DType> precision);

/// Collective. Answers a file of requests, whose ids `config` knows, with log-likelihoods (`eval --score`).
void score_requests(const Communicator& world, const ops::Context& context, const ModelSource& model,
                    const HfConfig& config, const std::filesystem::path& requests,
                    const std::filesystem::path& scores, EvaluationOptions options);

/// Rank 0 prints a text to standard output.
void print(const Communicator& world, const std::string& text);

}  // namespace galapagos::app
