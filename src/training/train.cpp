#include "training_run.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/training/train.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

/// Whether there is what --resume goes on from, or else nothing that a new run would spoil.
void check_folder(const TrainOptions& options) {
  const fs::path& folder = options.output;
  const bool saved = fs::exists(folder / "checkpoint.h5") || fs::exists(folder / "checkpoint.previous.h5");
  const bool complete = fs::exists(folder / "manifest.json");
  if (options.resume && complete) {
    throw InputError("this training is complete", folder.string(),
                     "its model is in the folder model; choose another --output for another training");
  }
  if (options.resume && !saved)
    throw InputError("no checkpoint to go on from", folder.string(), "leave --resume out");
  if (!options.resume && (saved || complete)) {
    throw InputError(
        "a training is there already", folder.string(),
        complete ? "choose another --output" : "go on with --resume, or choose another --output");
  }
  if (const fs::path layers = folder / "layers"; !options.resume && fs::exists(layers)) {
    throw InputError("there is a distillation already", layers.string(),
                     "end it with 'galapagos distil --resume', or choose another --output");
  }
  // The folder that the result is going to replace.
  std::error_code error;
  const bool itself = fs::equivalent(folder / "model", options.model, error) ||
                      (options.reference && fs::equivalent(folder / "model", *options.reference, error));
  if (itself || (!options.resume && fs::exists(folder / "model"))) {
    throw InputError("there is a model already where the trained one goes", (folder / "model").string(),
                     "choose another --output");
  }
}

/// A new run's folder; what a run left there that ended before its first checkpoint goes.
void make_folder(const TrainOptions& options) {
  std::error_code error;
  fs::create_directories(options.output, error);
  if (error || !fs::is_directory(options.output)) {
    throw InputError("cannot make the folder of the run", options.output.string(),
                     "check the path given to --output");
  }
  fs::remove(options.output / "metrics.jsonl");
  write_file_atomically(options.output / "config.ini", options.config_ini);
}

}  // namespace

void run_training(const Communicator& world, const ops::Context& context, const TrainOptions& asked,
                  const ModelWriter& write_model) {
  const Communicator comm = world.duplicate();
  watch_signals();
  const Stopwatch begun;
  PhaseTimes times;
  std::optional<PhaseScope> reading(std::in_place, &times, "reading");
  agree_at_root(comm, [&] { check_folder(asked); });  // before the work that comes first
  agree(comm, [&] { check_shards(comm.size(), asked.shards); });
  const ReplicaGrid grid(comm, asked.shards);
  TrainSetup setup;
  prepare(comm, grid, context, asked, setup);
  const TrainOptions& options = setup.options;
  log_info("{} parameters, {} in memory; {} updates of about {} tokens; {} tokens of text",
           count(setup.parameters), name_of(setup.precision), count(setup.schedule.steps),
           count(options.step_tokens), count(setup.sampler->tokens()));
  if (comm.is_root() && options.tokens > setup.sampler->tokens()) {
    log_warning("the text is shorter than the budget of {} tokens: it is read {:.2f} times",
                count(options.tokens),
                static_cast<double>(options.tokens) / static_cast<double>(setup.sampler->tokens()));
  }
  check_memory(comm, grid, setup, context);
  if (options.dry_run) return;
  agree_at_root(comm, [&] {
    if (!options.resume) make_folder(options);
  });
  const Shards shards = make_shards(grid, options.make_collectives, setup.model.config.vocab_size);
  const std::unique_ptr<Collectives> replicas =
      grid.replicas() > 1 ? make_for_group(grid, grid.same_shard(), options.make_collectives)
                          : make_mpi_collectives(grid.same_shard());
  std::optional<Training> training;
  agree(comm, [&] { training.emplace(comm, grid, shards, *replicas, context, setup, begun, times); });
  training->begin();
  reading.reset();
  training->run();
  training->finish(write_model);
}

}  // namespace galapagos
