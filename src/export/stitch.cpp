#include "description.hpp"
#include "fuse.hpp"
#include "tensors.hpp"
#include "write_export.hpp"

#include <map>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/export/stitch.hpp>

namespace galapagos {

namespace {

/// Collective. The levels of an assignment refitted, each on the rank that is to write it.
RefittedLevels refit(const Communicator& comm, const ops::Context& context, const Checkpoint& checkpoint,
                     const HfConfig& config, const DatabaseReader& database, const Assignment& assignment,
                     const ExportedModel& model, std::span<const ExportFile> files,
                     const StitchOptions& options) {
  agree_at_root(comm, [&] { check_export(options.output, files); });
  std::map<std::string, int> writers;
  for (std::size_t f = 0; f < files.size(); ++f) {
    for (const StoredTensor& tensor : files[f].tensors)
      if (tensor.source) writers[model.tensors[*tensor.source].name] = writer_of(f, comm.size());
  }
  std::vector<int> owners;
  for (const ModuleId& module : database.header().modules())
    owners.push_back(writers[name_of(module) + ".weight"]);
  return refit_levels(comm, context, *options.refit, checkpoint, config, database, assignment, owners);
}

}  // namespace

void stitch(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
            const DatabaseReader& database, const SearchSpace& space, const Assignment& assignment,
            const StitchOptions& options, const ops::Context& context) {
  RefittedLevels refitted;
  LevelSource levels{database.header().dtype, space.first_stored, {}};
  if (options.refit) {
    levels.first_stored = 0;
    levels.words = [&](const ModuleId& module, std::int64_t) { return refitted.words.at(module); };
  } else {
    levels.words = [&](const ModuleId& module, std::int64_t level) {
      return database.level_bytes(module, level, true);
    };
  }
  const ExportFormat& format = *options.format;
  const std::unique_ptr<Exporter> exporter = format.exporter();
  ExportedModel model;
  std::vector<ExportFile> files;
  Json description;
  agree(comm, [&] {
    if (options.refit) check_reaches_stream(config, "--refit", "leave it out");
    description = pruning_description(checkpoint.folder(), config, space, assignment, format);
    model.config = parse_hf_config(format.config(config, space.shapes(config, assignment)),
                                   (options.output / "config.json").string());
    model.parent = checkpoint.folder();
    model.tensors = fused(plan_tensors(checkpoint, config, levels, space, assignment, format), model.config);
    files = exporter->begin(model, options.shard_bytes);
  });
  if (options.refit) {
    refitted = refit(comm, context, checkpoint, config, database, assignment, model, files, options);
    description["refit"] = refit_description(*options.refit, database.header().modules(), refitted);
  }
  agree_at_root(comm, [&] {
    model.texts = {{"config.json", model.config.source.dump(2) + "\n"},
                   {"pruning.json", description.dump() + "\n"},
                   {"assignment.txt", to_text(space, assignment)}};
  });
  write_export(comm, *exporter, model, files, options.output);
  log_info("{} is complete: {} parameters", options.output.string(),
           human_count(static_cast<std::uint64_t>(space.parameters(assignment))));
}

}  // namespace galapagos
