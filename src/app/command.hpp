#pragma once

#include "billing.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/stitched_source.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/model/computing_options.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/generation_options.hpp>
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
void generate(const Communicator& world, const std::vector<std::string>& words);
void assign(const Communicator& world, const std::vector<std::string>& words);
void profile(const Communicator& world, const std::vector<std::string>& words);
void rounds(const Communicator& world, const std::vector<std::string>& words);
void prune(const Communicator& world, const std::vector<std::string>& words);
void search(const Communicator& world, const std::vector<std::string>& words);
void stitch(const Communicator& world, const std::vector<std::string>& words);
void tokenize(const Communicator& world, const std::vector<std::string>& words);
void distil(const Communicator& world, const std::vector<std::string>& words);
void train(const Communicator& world, const std::vector<std::string>& words);
void convert(const Communicator& world, const std::vector<std::string>& words);
void plan(const Communicator& world, const std::vector<std::string>& words);
void info(const Communicator& world, const std::vector<std::string>& words);
void top(const Communicator& world, const std::vector<std::string>& words);
void report(const Communicator& world, const std::vector<std::string>& words);

/// A command's options, bound to what it is asked for.
template <typename Request>
struct Asked {
  Request request;
  Options options;

  Asked() { bind(options, request); }
  Asked(const Asked&) = delete;

  /// Takes what parse() found; UsageError where a word stands for nothing, or the ranks do not divide.
  Request& read(int ranks) {
    options.take();
    if constexpr (requires { request.shards; }) check_shards(ranks, request.shards);
    return request;
  }
};

/// At what `eval --time` measures.
struct EvalTimes {
  bool asked = false;
  std::string batch = "1", lengths;  ///< whole numbers
  std::int64_t repeats = 5;
};

/// What `galapagos eval` is asked for.
struct EvalRequest : ComputingOptions {
  std::optional<std::filesystem::path> database, assignment, reference, score, scores;
  std::vector<std::filesystem::path> data;
  std::int64_t tokens = 0;
  int shards = 1;
  bool json = false;
  EvalTimes time;
};
void bind(Options& list, EvalRequest& request);

/// What `galapagos generate` is asked for.
struct GenerateRequest : RunOptions {
  std::optional<std::filesystem::path> database, assignment, prompts;
  std::int64_t samples = 0, seed = 0;
  std::vector<std::string> stop;
  bool keep_special = false;
  int shards = 1;
  GenerationOptions how;
};
void bind(Options& list, GenerateRequest& request);

/// What `galapagos stitch` is asked for.
struct StitchRequest : RefitOptions {
  std::optional<std::filesystem::path> database, assignment;
  std::vector<std::string> formats = {"hf"};
  std::optional<Compensation> refit;
  StitchOptions stitch;
};
void bind(Options& list, StitchRequest& request);

/// What is given to `stitch`, with the refit where one is asked for. UsageError where text is given to
/// nothing.
StitchOptions stitch_options(const Asked<StitchRequest>& asked);

/// Collective. Parses the words, starts logging, and serves --help, --print-options, --print-man and
/// --print-config; false where the command has nothing more to do.
bool begin(const Communicator& world, Options& options, const std::vector<std::string>& words);

/// The same, and then takes what is asked for. UsageError where something is missing or out of its range.
template <typename Request>
bool begin(const Communicator& world, Asked<Request>& asked, const std::vector<std::string>& words) {
  if (!begin(world, asked.options, words)) return false;
  agree(world, [&] {
    asked.options.require_all();
    asked.read(world.size());
    asked.options.check();
  });
  open_bill(asked.options);
  return true;
}

/// InputError where nothing can be written into the folder of `output`, which would otherwise turn out once
/// all is done.
void check_folder(const std::filesystem::path& output);

/// The same; InputError besides where the output is something else than a file, or one of the `inputs`.
void check_output_file(const std::filesystem::path& output, std::span<const std::filesystem::path> inputs);

/// NumericalError where a model has given no numbers.
void check_finite(std::span<const SequenceScore> scores);

/// Collective. The device that --backend asks for; where it is a GPU, each rank has taken one of its node,
/// and the log says which. ResourceError where two ranks would share one without --allow-gpu-sharing.
Device choose_device(const Communicator& world, const ComputingOptions& options);

/// Collective. The context that --backend, --precision and --threads ask for, in which what --collectives
/// asks for can be had.
ops::Context make_context(const Communicator& world, const ComputingOptions& options);

/// What --collectives asks for, for tensors of `context`, which must outlive the result; checked when they
/// are made, but for --no-collectives-check, on messages up to the hidden states of the model's largest
/// batch.
MakeCollectives collectives_for(const ops::Context& context, const ComputingOptions& options);

/// The same for Hessians of GPUs, which go over NCCL where ranks have one each and --collectives does not say
/// otherwise; nothing, or of all ranks nothing, where they go through host memory.
MakeCollectives hessian_collectives_for(const ops::Context& context, const ComputingOptions& options);

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
                                         const std::optional<std::filesystem::path>& database);

/// Collective. Opens it all; UsageError where only one of --database and --assignment is given.
std::unique_ptr<NamedModel> open_model(const Communicator& world, const std::filesystem::path& folder,
                                       const std::optional<std::filesystem::path>& database,
                                       const std::optional<std::filesystem::path>& assignment,
                                       std::optional<DType> precision);

/// Collective. Answers a file of requests, whose ids `config` knows, with log-likelihoods (`eval --score`).
void score_requests(const Communicator& world, const ops::Context& context, const ModelSource& model,
                    const HfConfig& config, const std::filesystem::path& requests,
                    const std::filesystem::path& scores, EvaluationOptions options);

/// Rank 0 prints a text to standard output.
void print(const Communicator& world, const std::string& text);

}  // namespace galapagos::app
