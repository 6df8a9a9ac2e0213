#include <algorithm>
#include <fmt/format.h>
#include <set>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/hessian.hpp>
#include <galapagos/pruning/passes.hpp>

namespace galapagos {
namespace {

/// All that the ranks agree on before the work begins.
struct Plan {
  HfConfig config;
  DatabaseHeader header;
  DType precision = DType::f32;
  TokenSet calibration;
  std::vector<Batch> batches;
  std::int64_t most_tokens = 1;
  PipelineGrid grid;
  std::vector<ModuleId> missing;
  std::vector<std::vector<ModuleId>> passes;
};

/// Everything of the header but what comes from the root: fingerprints and time.
DatabaseHeader make_header(const DatabaseOptions& options, const HfConfig& config,
                           const Checkpoint& checkpoint) {
  DatabaseHeader header;
  header.tool_version = version_with_revision();
  header.config = config;
  header.sequence_length = checked_sequence_length(options.sequence_length, config);
  header.relative_damping = options.relative_damping;
  header.dtype = checkpoint.dtype();
  header.attention_unit = options.attention_unit;
  const auto levels = [&](ModuleKind kind, const std::optional<std::string>& list, const char* option) {
    return list ? explicit_levels(header.layout(kind), *list, option)
                : equal_levels(header.layout(kind), options.levels);
  };
  header.attention_removed = levels(ModuleKind::attention, options.attention_removed, "--attn-removed");
  header.ffn_removed = levels(ModuleKind::ffn, options.ffn_removed, "--ffn-removed");
  return header;
}

void check_options(const DatabaseOptions& options) {
  if (options.batch_tokens < 1)
    throw UsageError("fewer than one token at a time", "--batch-tokens", "give 1 or more");
  if (options.calibration_tokens < 0)
    throw UsageError("a negative number", "--calibration-tokens", "give 1 or more");
  if (!(options.relative_damping >= 0 && options.relative_damping <= 1e3)) {
    throw UsageError(fmt::format("a damping of {:g}", options.relative_damping), "--rel-damp",
                     "give 0 or more, as 0.01");
  }
  if (options.repair && !options.resume)
    throw UsageError("nothing to repair", "--repair", "use it together with --resume");
}

/// Collective. The calibration set and its batches; only their sizes on a dry run.
void load_calibration(const Communicator& comm, const DatabaseOptions& options, Plan& plan) {
  const std::int64_t length = plan.header.sequence_length;
  if (options.dry_run) {
    plan.most_tokens = std::max(options.batch_tokens, length);
    plan.header.calibration_tokens = options.calibration_tokens;
    return;
  }
  plan.calibration = load_model_sequences(comm, options.calibration, options.model, plan.config,
                                          {length, options.calibration_tokens, options.add_bos});
  plan.batches = make_batches(plan.calibration.tokens, plan.calibration.offsets, options.batch_tokens);
  for (const Batch& batch : plan.batches) {
    plan.most_tokens = std::max(plan.most_tokens, static_cast<std::int64_t>(batch.tokens.size()));
  }
  plan.header.calibration_tokens = static_cast<std::int64_t>(plan.calibration.tokens.size());
  plan.header.calibration_sequences = static_cast<std::int64_t>(plan.calibration.offsets.size()) - 1;
  plan.header.calibration_fingerprint = hex64(plan.calibration.fingerprint());
}

enum class Found : int { nothing, part, complete };

/// What an earlier run has left behind. Never touches it.
Found look_for_output(const DatabaseOptions& options) {
  const std::filesystem::path part = part_path(options.output);
  const bool complete = std::filesystem::exists(options.output), begun = std::filesystem::exists(part);
  if (!options.resume && complete) {
    throw InputError("the database exists already", options.output.string(),
                     "remove it or choose another --output");
  }
  if (!options.resume && begun) {
    throw InputError("an unfinished database is there", part.string(), "go on with --resume, or remove it");
  }
  return complete ? Found::complete : begun ? Found::part : Found::nothing;
}

/// Which modules of an earlier run are done and sound, dealt over the ranks to be verified.
std::vector<ModuleId> missing_modules(const Communicator& comm, const std::filesystem::path& path,
                                      const DatabaseHeader& header, bool repair) {
  const std::vector<ModuleId> modules = header.modules();
  std::vector<std::uint8_t> bad;
  agree(comm, [&] {
    const DatabaseReader reader(path);
    for (std::size_t i = static_cast<std::size_t>(comm.rank()); i < modules.size();
         i += static_cast<std::size_t>(comm.size())) {
      bad.push_back(reader.done(modules[i]) ? 0 : 1);
      if (bad.back() != 0) continue;
      try {
        reader.verify(modules[i]);
      } catch (const InputError& error) {
        if (!repair) throw;
        log_warning("{}: this module is done again", error.what());
        bad.back() = 1;
      }
    }
  });
  std::vector<std::uint64_t> counts;
  std::vector<std::uint8_t> all = comm.gather(std::span<const std::uint8_t>(bad), &counts);
  comm.broadcast(all);
  std::vector<ModuleId> missing;
  std::size_t at = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    for (std::size_t i = static_cast<std::size_t>(rank); i < modules.size();
         i += static_cast<std::size_t>(comm.size())) {
      if (all[at++] != 0) missing.push_back(modules[i]);
    }
  }
  std::sort(missing.begin(), missing.end());
  return missing;
}

void log_plan(const Communicator& comm, const DatabaseOptions& options, const Plan& plan) {
  const auto list = [](const std::vector<std::int64_t>& removed) {
    return fmt::format("{}", fmt::join(removed, " "));
  };
  log_info("model {}: {} layers, {} parameters in them, weights {}, working precision {}",
           options.model.string(), plan.config.layers,
           human_count(static_cast<std::uint64_t>(
               layer_parameters(plan.config, dense_layer_shape(plan.config)) * plan.config.layers)),
           name_of(plan.header.dtype), name_of(plan.precision));
  log_info("calibration: {} sequences, {} tokens, {} batches",
           human_count(static_cast<std::uint64_t>(plan.header.calibration_sequences)),
           human_count(static_cast<std::uint64_t>(plan.header.calibration_tokens)),
           human_count(plan.batches.size()));
  log_info("levels of attention, {}s removed: {}", name_of(plan.header.attention_unit),
           list(plan.header.attention_removed));
  log_info("levels of ffn, columns removed: {}", list(plan.header.ffn_removed));
  log_info("{} ranks: {} stages x {} lanes; {} of {} modules to do in {} passes; database {}", comm.size(),
           plan.grid.stages(), plan.grid.lanes, plan.missing.size(), plan.header.modules().size(),
           plan.passes.size(), human_bytes(plan.header.file_bytes()));
  std::uint64_t most = 0;
  for (const LayerSpan& span : plan.grid.spans) {
    for (const auto& pass : plan.passes) {
      most = std::max(most, stage_bytes(plan.config, span, plan.precision, plan.most_tokens, pass));
    }
  }
  log_info("memory per rank up to {}", human_bytes(most));
}

StageWeights load_my_stage(const Checkpoint& checkpoint, const Plan& plan, int rank, Device device) {
  if (!plan.grid.member(rank)) return {};
  const LayerSpan span = plan.grid.spans[static_cast<std::size_t>(plan.grid.stage_of(rank))];
  return load_stage(checkpoint, plan.config, span, plan.precision, device);
}

/// The module's weight as OBS wants it: [columns, d_row] fp32.
OwnedTensor transposed_weight(const Checkpoint& checkpoint, const ModuleId& module, std::int64_t rows,
                              std::int64_t columns) {
  const std::string name = name_of(module) + ".weight";
  const std::vector<float> weight = checkpoint.read_float(name, {rows, columns});
  OwnedTensor transposed({columns, rows}, DType::f32, Device::cpu, name);
  constexpr std::int64_t block = 64;
  for (std::int64_t i = 0; i < rows; i += block) {
    for (std::int64_t j = 0; j < columns; ++j) {
      for (std::int64_t r = i; r < std::min(i + block, rows); ++r) {
        transposed->floats()[j * rows + r] = weight[static_cast<std::size_t>(r * columns + j)];
      }
    }
  }
  return transposed;
}

void prune_module(const ops::Context& context, const Checkpoint& checkpoint, const Plan& plan,
                  const ModuleId& module, OwnedTensor hessian, DatabaseWriter& writer) {
  const StructureLayout layout = plan.header.layout(module.kind);
  const auto& removed = plan.header.removed(module.kind);
  const Stopwatch watch;
  ObsProblem problem;
  problem.name = name_of(module);
  problem.weight = transposed_weight(checkpoint, module, plan.config.hidden_size, layout.columns);
  problem.hessian = std::move(hessian);
  problem.unit = layout.unit;
  problem.round = layout.round;
  problem.relative_damping = plan.header.relative_damping;
  problem.removed.assign(removed.begin() + 1, removed.end());
  const ObsSummary summary = structured_obs(
      context, problem, [&](std::int64_t level, std::span<const std::int64_t>, const Tensor& weight) {
        writer.write_level(module, level, weight);
      });
  writer.finish_module(module, summary);
  if (summary.attempts > 1) {
    log_warning("{}: the Hessian needed a relative damping of {:g}", problem.name, summary.relative_damping);
  }
  log_debug("{}: loss {:.4g} with everything removed, {:.2f} s", problem.name, summary.loss.back(),
            watch.seconds());
}

void run_pass(const Communicator& comm, const ops::Context& context, const Checkpoint& checkpoint,
              const Plan& plan, const StageWeights& stage, std::span<const ModuleId> modules,
              DatabaseWriter& writer) {
  Hessians hessians;
  {
    FailureBoard board(comm);
    const Collection collection{plan.grid, plan.config, plan.batches, plan.header.calibration_sequences};
    hessians = collect_hessians(context, comm, collection, stage, modules, board);
    board.settle();
  }
  const std::vector<int> owners = assign_owners(modules, plan.config, plan.grid, comm.size());
  hessians = reduce_to_owners(comm, plan.grid, plan.config, modules, owners, std::move(hessians));
  FailureBoard board(comm);
  Progress progress("pruned modules of this rank", static_cast<std::int64_t>(hessians.size()));
  while (!hessians.empty() && !board.failed()) {
    auto next = hessians.extract(hessians.begin());
    board.attempt(
        [&] { prune_module(context, checkpoint, plan, next.key(), std::move(next.mapped()), writer); });
    progress.advance();
  }
  board.settle();
}

}  // namespace

void build_database(const Communicator& world, const ops::Context& context, const DatabaseOptions& options) {
  const Communicator comm = world.duplicate();
  const std::filesystem::path part = part_path(options.output);
  const Stopwatch watch;
  int found = 0;
  agree_at_root(comm, [&] { found = static_cast<int>(look_for_output(options)); });
  found = comm.broadcast_value(found);

  Plan plan;
  std::optional<Checkpoint> checkpoint;
  agree(comm, [&] {
    plan.config = read_hf_config(options.model);
    check_options(options);
    checkpoint.emplace(options.model);
    plan.precision = options.precision.value_or(checkpoint->dtype());
    plan.header = make_header(options, plan.config, *checkpoint);
  });
  agree_at_root(comm, [&] {
    plan.header.created = utc_now();
    plan.header.model_fingerprint = hex64(checkpoint->fingerprint());
  });
  plan.header.created = comm.broadcast_string(plan.header.created);
  plan.header.model_fingerprint = comm.broadcast_string(plan.header.model_fingerprint);
  load_calibration(comm, options, plan);

  const std::filesystem::path existing = static_cast<Found>(found) == Found::complete ? options.output : part;
  plan.missing = plan.header.modules();
  if (static_cast<Found>(found) != Found::nothing && !options.dry_run) {
    agree_at_root(comm, [&] {
      check_same_database(DatabaseReader(existing).header(), plan.header, existing.string());
    });
    plan.missing = missing_modules(comm, existing, plan.header, options.repair);
  }
  if (static_cast<Found>(found) == Found::complete && plan.missing.empty()) {
    log_info("{} is complete, nothing to do", options.output.string());
    return;
  }
  const double cost = static_cast<double>(layer_parameters(plan.config, dense_layer_shape(plan.config)));
  agree(comm, [&] {
    const std::vector<double> costs(static_cast<std::size_t>(plan.config.layers), cost);
    plan.grid = make_pipeline_grid(costs, comm.size(), options.lanes);
  });
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit);
  agree(comm, [&] {
    plan.passes = plan_passes(plan.config, plan.grid, plan.precision, plan.most_tokens, plan.missing, limit);
  });
  log_plan(comm, options, plan);
  if (options.dry_run) return;

  agree_at_root(comm, [&] {
    if (static_cast<Found>(found) == Found::nothing) create_database(part, plan.header);
    if (static_cast<Found>(found) != Found::nothing && !plan.missing.empty()) {
      reopen_database(existing, part, plan.missing);
    }
  });
  if (!plan.missing.empty()) {
    const StageWeights stage =
        agree_on(comm, [&] { return load_my_stage(*checkpoint, plan, comm.rank(), context.device()); });
    auto writer = agree_on(comm, [&] { return DatabaseWriter(part, comm, plan.header); });
    for (const std::vector<ModuleId>& pass : plan.passes)
      run_pass(comm, context, *checkpoint, plan, stage, pass, writer);
    agree(comm, [&] { writer.close(); });
  }
  agree_at_root(comm, [&] { complete_database(part, options.output); });
  log_info("{} is complete: {} modules in {}", options.output.string(), plan.header.modules().size(),
           human_duration(watch.seconds()));
}

}  // namespace galapagos
