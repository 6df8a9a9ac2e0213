#include "plan.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/pruning/assignment_text.hpp>
#include <galapagos/pruning/calibration_batches.hpp>
#include <galapagos/pruning/passes.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {
namespace {

/// Collective. The calibration set and its batches; only their sizes on a dry run.
void load_calibration(const Communicator& comm, const DatabaseOptions& options, Plan& plan) {
  const std::int64_t length = plan.header.sequence_length;
  if (options.dry_run) {
    plan.most_tokens = std::max(options.batch_tokens, length);
    plan.header.calibration_tokens = options.calibration_tokens;
    return;
  }
  plan.calibration =
      load_model_sequences(comm, options.calibration, options.model, plan.config,
                           {length, options.calibration_tokens, options.add_bos, false, false, options.text});
  const bool holds_out = options.compensation && !options.compensation->ridge;
  CalibrationBatches batches = agree_on(comm, [&] {
    return calibration_batches(plan.calibration, options.batch_tokens,
                               holds_out ? std::optional<std::string>("--compensate auto") : std::nullopt);
  });
  plan.batches = std::move(batches.all);
  plan.fitted_batches = batches.fitted;
  plan.most_tokens = most_tokens_of(plan.batches);
  plan.header.calibration_tokens = static_cast<std::int64_t>(plan.calibration.tokens.size());
  plan.header.calibration_sequences = static_cast<std::int64_t>(plan.calibration.offsets.size()) - 1;
  plan.header.calibration_fingerprint = hex64(plan.calibration.fingerprint());
}

/// What an earlier run has left behind. Never touches it.
Found look_for_output(const DatabaseOptions& options) {
  const std::filesystem::path part = part_path(options.output);
  const bool complete = std::filesystem::exists(options.output), begun = std::filesystem::exists(part);
  if (options.fresh) {
    if (complete) DatabaseReader reader(options.output);  // nothing but a database is ever removed
    return Found::nothing;
  }
  const Found found = complete ? Found::complete : begun ? Found::unfinished : Found::nothing;
  if (found != Found::nothing)
    check_found(options.resume, found, "database", (complete ? options.output : part).string());
  return found;
}

/// Collective. All ranks are lanes, and have to have room for their tokens' hidden states.
void plan_path(const Communicator& comm, const DatabaseOptions& options, Plan& plan) {
  plan.grid.lanes = comm.size();
  plan.grid.spans = {{0, plan.config.layers}};
  const std::int64_t tokens = plan.batches.empty()
                                  ? (plan.header.calibration_tokens + comm.size() - 1) / comm.size()
                                  : most_tokens_of_rank(plan.batches, comm.size());
  plan.path_memory = path_memory(plan.header, options.compensation, comm.size(), tokens, plan.extent());
  check_path_memory(comm, plan.path_memory, options.memory_limit, plan.device);
}

}  // namespace

DatabaseHeader make_header(const DatabaseOptions& options, const HfConfig& config, DType stored) {
  DatabaseHeader header;
  header.tool_version = version_with_revision();
  header.config = config;
  header.sequence_length = checked_sequence_length(options.sequence_length, config);
  header.relative_damping = options.relative_damping;
  header.dtype = stored;
  header.attention_unit = options.attention_unit;
  std::map<bool, std::int64_t> widths;  // of attention or not, what lists are of
  for (const ModuleId& module : header.modules()) {
    const bool attention = module.kind == ModuleKind::attention;
    const auto& list = attention ? options.attention_removed : options.ffn_removed;
    const char* option = attention ? "--attn-removed" : "--ffn-removed";
    // In a mixture the list is of its experts; layers without any have --levels.
    const bool listed = list && (attention || !config.mixture || module.expert != no_expert);
    const std::int64_t columns = module_columns(config, module);
    if (listed && widths.emplace(attention, columns).first->second != columns)
      throw UsageError("the layers of this model differ in width", option, "use --levels");
    header.levels[module] = listed ? explicit_levels(header.layout(module), *list, option)
                                   : equal_levels(header.layout(module), options.levels);
  }
  if (options.path) refuse_mixture(config, "a database on a path", "--path", "leave it out");
  if (options.path) {
    std::vector<std::int16_t> last;
    const std::vector<ModuleId> modules = header.modules();
    for (const ModuleId& module : modules)
      last.push_back(static_cast<std::int16_t>(header.removed(module).size() - 1));
    header.path = read_assignment_text(modules, last, *options.path);
    if (options.compensation) {
      check_reaches_stream(config, "--compensate", "leave it out");
      header.compensation = name_of(*options.compensation);
      header.batch_tokens = options.batch_tokens;
    }
  }
  return header;
}

std::vector<ModuleId> missing_modules(const Communicator& comm, const std::filesystem::path& path,
                                      bool repair) {
  std::vector<ModuleId> modules;
  std::vector<std::uint8_t> bad;
  agree(comm, [&] {
    const DatabaseReader reader(path);
    modules = reader.header().modules();
    for (std::size_t i = static_cast<std::size_t>(comm.rank()); i < modules.size();
         i += static_cast<std::size_t>(comm.size())) {
      bad.push_back(reader.done(modules[i]) ? 0 : 1);
      if (bad.back() != 0) continue;
      try {
        reader.verify(modules[i]);
      } catch (const ChecksumError&) {
        if (!repair) throw;
        log_warning("{} does not fit its checksums and is done again", name_of(modules[i]));
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

namespace {

/// Says where sensitivities are not of the path that modules are pruned on, which is legal.
void warn_of_another_path(const DatabaseHeader& header, const SensitivityHeader& found,
                          const std::string& path) {
  const bool pruned =
      std::any_of(header.path.begin(), header.path.end(), [](auto level) { return level > 0; });
  const bool measured_pruned = !found.assignment_fingerprint.empty();
  if (measured_pruned && !pruned) {
    log_warning(
        "{} was measured with an assignment put in; a database on its path (--path) is what it is for", path);
  }
  if (pruned && !measured_pruned) {
    log_warning(
        "{} was measured on the unpruned model; for a database on a path measure them on it, with "
        "'galapagos sensitivity --database --assignment'",
        path);
  }
}

/// The columns that modules keep; nothing without a path.
std::vector<std::int64_t> kept_on_path(const DatabaseHeader& header) {
  std::vector<std::int64_t> kept;
  const std::vector<ModuleId> modules = header.modules();
  for (std::size_t i = 0; i < header.path.size(); ++i)
    kept.push_back(header.kept_columns(modules[i], header.path[i]));
  return kept;
}

}  // namespace

std::optional<SensitivityReader> open_sensitivities(const DatabaseOptions& options, const Plan& plan) {
  if (!options.sensitivity) return std::nullopt;
  std::optional<SensitivityReader> reader(*options.sensitivity);
  const std::string path = options.sensitivity->string();
  const SensitivityHeader& found = reader->header();
  if (found.config.source != plan.config.source || found.model_fingerprint != plan.header.model_fingerprint) {
    throw InputError("these sensitivities are of another model", path,
                     "make them with 'galapagos sensitivity' from the model given by --model");
  }
  if (found.has_first_order() && found.kept != kept_on_path(plan.header)) {
    throw InputError("the first order of the divergence was measured at another model than the path's", path,
                     "give --path the assignment that 'galapagos sensitivity --from kl' was given");
  }
  const std::string& known = plan.header.sensitivity_fingerprint;
  if (!known.empty() && known != reader->fingerprint())
    throw InputError("these sensitivities have changed", path, "do not write to the file while it is in use");
  return reader;
}

Plan make_plan(const Communicator& comm, const DatabaseOptions& options, Device device) {
  Plan plan;
  plan.device = device;
  agree_at_root(comm, [&] { plan.found = look_for_output(options); });
  plan.found = comm.broadcast_value(plan.found);
  agree(comm, [&] {
    plan.config = read_hf_config(options.model);
    check_options(options);
    plan.checkpoint.emplace(options.model);
    plan.precision = ops::working_type(device, options.precision.value_or(plan.checkpoint->dtype()));
    plan.header = make_header(options, plan.config, plan.checkpoint->dtype());
    plan.header.precision = plan.precision;
  });
  agree_at_root(comm, [&] {
    plan.header.created = utc_now();
    plan.header.model_fingerprint = hex64(plan.checkpoint->fingerprint());
    if (const auto reader = open_sensitivities(options, plan)) {
      plan.header.sensitivity_fingerprint = reader->fingerprint();
      warn_of_another_path(plan.header, reader->header(), options.sensitivity->string());
      if (reader->header().has_first_order()) plan.header.end_loss_from = "kl";
    }
  });
  plan.header.created = comm.broadcast_string(plan.header.created);
  plan.header.model_fingerprint = comm.broadcast_string(plan.header.model_fingerprint);
  plan.header.sensitivity_fingerprint = comm.broadcast_string(plan.header.sensitivity_fingerprint);
  plan.header.end_loss_from = comm.broadcast_string(plan.header.end_loss_from);
  load_calibration(comm, options, plan);

  plan.missing = plan.header.modules();
  if (plan.found != Found::nothing && !options.dry_run) {
    const std::filesystem::path existing =
        plan.found == Found::complete ? options.output : part_path(options.output);
    agree_at_root(comm, [&] {
      check_same_database(DatabaseReader(existing).header(), plan.header, existing.string());
    });
    // Who runs the same command again does not wait for a whole database to be read.
    const bool is_read = plan.found == Found::unfinished || options.resume == Resume::yes || options.repair;
    plan.missing.clear();
    if (is_read) plan.missing = missing_modules(comm, existing, options.repair);
    // What comes after a module on the path stands on it.
    if (options.path && !plan.missing.empty()) {
      const std::vector<ModuleId> all = plan.header.modules();
      plan.missing.assign(std::find(all.begin(), all.end(), plan.missing.front()), all.end());
    }
  }
  if (options.path) {
    plan_path(comm, options, plan);
    return plan;
  }
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, device);
  agree(comm, [&] {
    plan.grid = make_pipeline_grid(layer_costs(plan.config), comm.size(), options.lanes);
    if (plan.grid.stages() > 1) check_message(plan.most_tokens, plan.config.hidden_size);
    plan.passes = plan_passes(plan.config, plan.grid, plan.extent(), plan.missing, limit);
  });
  return plan;
}

void log_plan(const Communicator& comm, const DatabaseOptions& options, const Plan& plan) {
  const auto list = [&](ModuleKind kind) {
    const auto common = plan.header.common_levels(kind);
    return common ? fmt::format("{}", fmt::join(*common, " ")) : std::string("by layer");
  };
  log_info("model {}: {} layers, {} parameters in them, weights {}, working precision {}",
           options.model.string(), plan.config.layers,
           human_count(static_cast<std::uint64_t>(parameters_in_layers(plan.config))),
           name_of(plan.header.dtype), name_of(plan.precision));
  log_info("calibration: {} sequences, {} tokens, {} batches",
           human_count(static_cast<std::uint64_t>(plan.header.calibration_sequences)),
           human_count(static_cast<std::uint64_t>(plan.header.calibration_tokens)),
           human_count(plan.batches.size()));
  log_info("levels of attention, {}s removed: {}", name_of(plan.header.attention_unit),
           list(ModuleKind::attention));
  log_info("levels of ffn, columns removed: {}", list(ModuleKind::ffn));
  if (options.path) {
    log_info("{} ranks along the path {}{}; {} of {} modules to do; database {}", comm.size(),
             options.path->string(),
             options.compensation ? ", compensated with ridge " + plan.header.compensation : std::string(),
             plan.missing.size(), plan.header.modules().size(), human_bytes(plan.header.file_bytes()));
    const std::string states = plan.header.calibration_tokens > 0
                                   ? human_bytes(plan.path_memory.states)
                                   : std::string("what --calibration-tokens needs");
    log_info("memory per rank up to {} and for hidden states {}", human_bytes(plan.path_memory.working()),
             states);
    return;
  }
  log_info("{} ranks: {} stages x {} lanes; {} of {} modules to do in {} passes; database {}", comm.size(),
           plan.grid.stages(), plan.grid.lanes, plan.missing.size(), plan.header.modules().size(),
           plan.passes.size(), human_bytes(plan.header.file_bytes()));
  if (options.sensitivity)
    log_info("order weighed by the end loss, sensitivities of {}", options.sensitivity->string());
  std::uint64_t most = 0;
  for (const LayerSpan& span : plan.grid.spans) {
    for (const auto& pass : plan.passes) {
      most = std::max(most, stage_memory(plan.config, span, plan.extent(), pass).peak());
    }
  }
  log_info("memory per rank up to {}", human_bytes(most));
}

}  // namespace galapagos
