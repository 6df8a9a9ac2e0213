#include "distillation.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_files.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/training/distil.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

std::int64_t largest_layer(const HfConfig& config) {
  std::int64_t most = 0;
  for (const LayerShape& shape : config.layer_shapes) most = std::max(most, layer_parameters(config, shape));
  return most;
}

/// Says what each layer is trained with, and whether that leaves ranks without work.
void log_updates(const Communicator& comm, const DistilSetup& setup) {
  const auto updates = static_cast<double>(setup.text.update_tokens.size());
  log_info("{} layers, each {} updates of about {:.0f} tokens; {} tokens of text, {} of them held out",
           setup.model.config.layers, setup.schedule.steps,
           static_cast<double>(setup.text.fitted_tokens) / updates,
           human_count(static_cast<std::uint64_t>(setup.tokens)),
           human_count(static_cast<std::uint64_t>(setup.text.held_tokens)));
  const double sequences = static_cast<double>(setup.fitted_sequences) / updates;
  if (!comm.is_root() || sequences >= comm.size() || setup.schedule.steps == 0) return;
  log_warning(
      "an update has {:.1f} sequences for {} ranks, some of which then have no work while layers are "
      "trained; "
      "a greater --step-tokens keeps all busy, but makes fewer updates",
      sequences, comm.size());
}

/// Collective. Says what a rank needs, and refuses what it has not with a ResourceError.
void check_memory(const Communicator& comm, const ops::Context& context, const DistilSetup& setup) {
  const DistilFootprint footprint = distil_footprint(
      setup.model.config, setup.reference.config,
      std::max(size_of(setup.model.precision), size_of(setup.reference.precision)), context.device(),
      context.activations(), setup.longest, std::ssize(setup.mine.tokens), comm.size());
  log_info("memory of a rank: {} = layers {}, training one {}, hidden states{} {}",
           human_bytes(footprint.weights + footprint.training + footprint.states),
           human_bytes(footprint.weights), human_bytes(footprint.training),
           context.device() == Device::cpu ? "" : " on the host", human_bytes(footprint.states));
  const std::uint64_t need = footprint.on(context.device());
  const std::uint64_t limit = memory_per_rank(comm, setup.options.memory_limit, context.device());
  agree(comm, [&] {
    if (need <= limit) return;
    throw ResourceError(fmt::format("distillation needs {} on a rank, which may use {}", human_bytes(need),
                                    human_bytes(limit)),
                        "memory", "use more ranks on more nodes, fewer --tokens or a smaller --batch-tokens");
  });
}

OwnFiles own_files() {
  OwnFiles files = {"config.ini*", "metrics.jsonl*", "manifest.json*", "bill.jsonl*",
                    "layers/*/*.safetensors*"};
  const OwnFiles model = model_files("model");
  files.insert(files.end(), model.begin(), model.end());
  return files;
}

/// On the root: what an earlier run has left; where that is nothing, there is nothing either that a new run
/// would spoil.
Found look_for_run(const DistilOptions& options) {
  const fs::path& folder = options.output;
  check_resume(options);
  if (options.fresh) {
    std::vector<fs::path> inputs = {options.model, options.reference};
    inputs.insert(inputs.end(), options.data.begin(), options.data.end());
    if (options.sensitivity) inputs.push_back(*options.sensitivity);
    check_inputs_stay(folder, own_files(), inputs);
    clear_run(folder, "distil", own_files(), true);
    return Found::nothing;
  }
  check_command_of_run(folder, "distil");
  const Found found = fs::exists(folder / "manifest.json") ? Found::complete
                      : fs::exists(folder / "layers")      ? Found::unfinished
                                                           : Found::nothing;
  check_found(options.resume, found, "distillation", folder.string());
  if (found != Found::nothing) return found;
  // Of a search, a training or the like.
  for (const char* name : {"model", "checkpoint.h5", "metrics.jsonl"}) {
    if (fs::exists(folder / name))
      throw InputError("there is something of another run already", (folder / name).string(),
                       "choose another --output");
  }
  return found;
}

/// On the root: InputError where the distillation that is complete is another than what is asked for.
void check_complete(const DistilSetup& setup) {
  const fs::path& folder = setup.options.output;
  const fs::path manifest = folder / "manifest.json";
  const Json json = parse_json(read_file(manifest), manifest.string());
  check_identity(json.value("options", Json::object()).dump(), setup.identity, "distillation",
                 manifest.string());
  // Where it was killed at its very end.
  if (!setup.options.dry_run) fs::remove_all(folder / "layers");
}

/// On the root: the folder of a new run.
void make_folder(const DistilOptions& options) {
  make_folders(options.output / "layers");
  write_file_atomically(options.output / "config.ini", options.config_ini);
}

/// On the root: drops the lines of layers that are not done, and a half-written last one.
void cut_metrics(const fs::path& path, std::int64_t done) {
  filter_lines(path, [&](const std::string& line) {
    const Json json = Json::parse(line, nullptr, false);
    return json.is_object() && json.contains("layer") && json["layer"].is_number_integer() &&
           json["layer"] < done;
  });
}

void write_manifest(const DistilSetup& setup, int ranks, double seconds, const RunReport& report) {
  const DistilOptions& options = setup.options;
  Json manifest;
  manifest["tool_version"] = version_with_revision();
  manifest["finished"] = utc_now();
  manifest["ranks"] = ranks;
  manifest["options"] = Json::parse(setup.identity);
  manifest["model"] = options.model.string();
  manifest["reference"] = options.reference.string();
  manifest["tokens"] = setup.text.fitted_tokens;
  manifest["held_out_tokens"] = setup.text.held_tokens;
  manifest["updates"] = setup.schedule.steps;
  manifest["seconds"] = seconds;
  report.add_to(manifest);
  write_file_atomically(options.output / "manifest.json", manifest.dump(2) + "\n");
}

}  // namespace

DistilFootprint distil_footprint(const HfConfig& model, const HfConfig& reference, std::size_t value_bytes,
                                 Device device, DType activations, std::int64_t most_tokens,
                                 std::int64_t tokens, int ranks) {
  const auto bytes = [](std::int64_t count, std::size_t of_each) {
    return static_cast<std::uint64_t>(count) * of_each;
  };
  DistilFootprint footprint;
  footprint.states = 2 * bytes(tokens * model.hidden_size, sizeof(float));
  // Of the pruned model's layer there is a second one where it stays as it was.
  footprint.weights = std::max(bytes(2 * largest_layer(model) + largest_layer(reference), value_bytes),
                               bytes(embedding_parameters(model), value_bytes));
  std::int64_t columns = 0;
  for (const LayerShape& shape : model.layer_shapes)
    columns = std::max({columns, shape.columns, shape.heads() * model.head_dim});
  // A layer is fitted before it is trained; what it was fitted to stays.
  footprint.training = LayerDistiller::bytes(model, most_tokens, activations) +
                       std::max(OutputFit::bytes(columns, model.hidden_size, device),
                                LayerDistiller::training_bytes(model, most_tokens, ranks, activations)) +
                       bytes(largest_layer(model), sizeof(float)) +
                       activation_bytes(model, most_tokens, activations, 1) +
                       activation_bytes(reference, most_tokens, activations, 1);
  return footprint;
}

void run_distillation(const Communicator& world, const ops::Context& context, const DistilOptions& asked,
                      const ChangedModelWriter& write_model) {
  watch_signals();  // on all ranks before one of them has the lock
  const Communicator comm = world.duplicate();
  const Stopwatch begun;
  const StopRule stop(asked.max_seconds);
  PhaseTimes times;
  std::optional<PhaseScope> reading(std::in_place, &times, "reading");
  std::optional<OutputLock> lock;
  Found found = Found::nothing;
  agree_at_root(comm, [&] {
    if (!asked.dry_run) lock.emplace(asked.output, true);
    found = look_for_run(asked);  // before the work that comes first
  });
  found = comm.broadcast_value(found);
  DistilSetup setup;
  prepare_distillation(comm, context, asked, setup);
  const DistilOptions& options = setup.options;
  const HfConfig& config = setup.model.config;
  if (found == Found::complete) {
    agree_at_root(comm, [&] { check_complete(setup); });
    log_info("{} is complete already", options.output.string());
    return;
  }
  log_updates(comm, setup);
  check_memory(comm, context, setup);
  if (options.dry_run) return;
  const LayerFiles files(options.output, config, *setup.model.checkpoint, setup.identity);
  std::int64_t done = 0;
  agree_at_root(comm, [&] {
    if (options.fresh) clear_run(options.output, "distil", own_files(), false);
    if (found == Found::nothing) return make_folder(options);
    done = files.done();
    cut_metrics(options.output / "metrics.jsonl", done);
  });
  done = comm.broadcast_value(done);
  if (found == Found::unfinished) {
    log_info("goes on from {}, {} of {} layers done; --fresh begins anew", options.output.string(), done,
             config.layers);
  }
  const std::unique_ptr<Collectives> replicas = options.make_collectives(comm);
  std::optional<Distillation> distillation;
  agree(comm, [&] { distillation.emplace(comm, context, setup, files, *replicas, stop, times); });
  reading.reset();
  distillation->run(done);
  distillation.reset();
  const PhaseScope writing(&times, "writing");
  std::vector<Checkpoint> changed;
  agree_at_root(comm,
                [&] { fs::remove_all(options.output / "model"); });  // of a run stopped before its manifest
  agree(comm, [&] {
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
      if (has_parameters(config, layer)) changed.emplace_back(files.folder(layer));
  });
  write_model(*setup.model.checkpoint, config, changed, options.output / "model");
  changed.clear();
  const RunReport report = report_run(comm, times);
  agree_at_root(comm, [&] {
    write_manifest(setup, comm.size(), begun.seconds(), report);
    fs::remove_all(options.output / "layers");
  });
}

}  // namespace galapagos
