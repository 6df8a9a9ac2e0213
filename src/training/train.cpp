#include "training_run.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_files.hpp>
#include <galapagos/training/train.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

OwnFiles own_files() {
  OwnFiles files = {"config.ini*", "metrics.jsonl*", "checkpoint*.h5*", "manifest.json*", "bill.jsonl*"};
  const OwnFiles model = model_files("model");
  files.insert(files.end(), model.begin(), model.end());
  return files;
}

/// What an earlier run has left; where that is nothing, there is nothing either that a new run would spoil.
Found look_for_run(const TrainOptions& options) {
  const fs::path& folder = options.output;
  check_resume(options);
  // The folder that the result is going to replace.
  std::error_code error;
  if (fs::equivalent(folder / "model", options.model, error) ||
      (options.reference && fs::equivalent(folder / "model", *options.reference, error))) {
    throw InputError("there is a model already where the trained one goes", (folder / "model").string(),
                     "choose another --output");
  }
  if (options.fresh) {
    std::vector<fs::path> inputs = options.data;
    inputs.insert(inputs.end(), options.eval_data.begin(), options.eval_data.end());
    inputs.push_back(options.model);
    if (options.reference) inputs.push_back(*options.reference);
    check_inputs_stay(folder, own_files(), inputs);
    clear_run(folder, "train", own_files(), true);
    return Found::nothing;
  }
  check_command_of_run(folder, "train");
  const bool saved = fs::exists(folder / "checkpoint.h5") || fs::exists(folder / "checkpoint.previous.h5");
  const bool complete = fs::exists(folder / "manifest.json");
  const Found found = complete ? Found::complete : saved ? Found::unfinished : Found::nothing;
  check_found(options.resume, found, "training", folder.string());
  if (found != Found::nothing) return found;
  const auto refuse = [&](const char* name) {
    if (!fs::exists(folder / name)) return;
    throw InputError("there is something of another run already", (folder / name).string(),
                     "choose another --output");
  };
  refuse("layers");
  // A training without checkpoints that was killed at its very end may have left its model.
  if (options.resume == Resume::no || command_of_run(folder).empty()) refuse("model");
  return found;
}

/// InputError where the training that is complete is another than what is asked for.
void check_complete(const TrainOptions& options, const std::string& identity) {
  const fs::path manifest = options.output / "manifest.json";
  const Json json = parse_json(read_file(manifest), manifest.string());
  check_identity(json.value("options", Json::object()).dump(), identity, "training", manifest.string());
}

/// A new run's folder; what a run left there that ended before its first checkpoint goes.
void make_folder(const TrainOptions& options) {
  make_folders(options.output);
  fs::remove(options.output / "metrics.jsonl");
  write_file_atomically(options.output / "config.ini", options.config_ini);
}

}  // namespace

void run_training(const Communicator& world, const ops::Context& context, const TrainOptions& asked,
                  const ModelWriter& write_model) {
  watch_signals();  // on all ranks before one of them has the lock
  const Communicator comm = world.duplicate();
  const Stopwatch begun;
  PhaseTimes times;
  std::optional<PhaseScope> reading(std::in_place, &times, "reading");
  std::optional<OutputLock> lock;
  Found found = Found::nothing;
  agree_at_root(comm, [&] {
    if (!asked.dry_run) lock.emplace(asked.output, true);
    found = look_for_run(asked);  // before the work that comes first
  });
  found = comm.broadcast_value(found);
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
  if (found == Found::complete) {
    agree_at_root(comm, [&] { check_complete(options, setup.identity); });
    log_info("{} is complete already", options.output.string());
    return;
  }
  check_memory(comm, grid, setup, context);
  if (options.dry_run) return;
  agree_at_root(comm, [&] {
    if (options.fresh) clear_run(options.output, "train", own_files(), false);
    if (found == Found::nothing) make_folder(options);
  });
  const Shards shards = make_shards(grid, options.make_collectives, setup.model.config.vocab_size);
  const std::unique_ptr<Collectives> replicas =
      grid.replicas() > 1 ? make_for_group(grid, grid.same_shard(), options.make_collectives)
                          : make_mpi_collectives(grid.same_shard());
  std::optional<Training> training;
  agree(comm, [&] { training.emplace(comm, grid, shards, *replicas, context, setup, begun, times); });
  training->begin(found == Found::unfinished);
  reading.reset();
  training->run();
  training->finish(write_model);
}

}  // namespace galapagos
