#include "description.hpp"
#include "model_folder.hpp"

#include <map>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/export/stitch.hpp>

namespace galapagos {

namespace {

/// The rank that writes each module's tensor.
std::vector<int> owners_of(const std::vector<ModuleId>& modules, std::span<const PlannedTensor> tensors,
                           std::uint64_t shard_bytes, int ranks) {
  const std::vector<int> writers = writers_of(tensors, shard_bytes, ranks);
  std::map<std::string, int> by_name;
  for (std::size_t i = 0; i < tensors.size(); ++i) by_name[tensors[i].name] = writers[i];
  std::vector<int> owners;
  for (const ModuleId& module : modules) owners.push_back(by_name[name_of(module) + ".weight"]);
  return owners;
}

/// Collective. The levels of an assignment refitted, each on the rank that is to write it.
RefittedLevels refit(const Communicator& comm, const ops::Context& context, const Checkpoint& checkpoint,
                     const HfConfig& config, const DatabaseReader& database, const Assignment& assignment,
                     std::span<const PlannedTensor> tensors, const StitchOptions& options) {
  agree_at_root(comm, [&] { check_model_folder(options.output, tensors); });
  const std::vector<int> owners =
      owners_of(database.header().modules(), tensors, options.shard_bytes, comm.size());
  return refit_levels(comm, context, *options.refit, checkpoint, config, database, assignment, owners);
}

}  // namespace

void stitch(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
            const DatabaseReader& database, const SearchSpace& space, const Assignment& assignment,
            const StitchOptions& options, const ops::Context& context) {
  const bool smaller = options.format == ExportFormat::hf;
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
  std::vector<PlannedTensor> tensors;
  Json description;
  agree(comm, [&] {
    description = pruning_description(checkpoint.folder(), config, space, assignment, options.format);
    tensors = plan_tensors(checkpoint, config, levels, space, assignment, options.format);
  });
  if (options.refit) {
    refitted = refit(comm, context, checkpoint, config, database, assignment, tensors, options);
    description["refit"] = refit_description(*options.refit, database.header().modules(), refitted);
  }
  write_model_folder(comm, options.output, tensors, options.shard_bytes, [&](const auto& part) {
    copy_companions(checkpoint.folder(), part);
    const Json json = smaller ? pruned_config(config, space, assignment) : config.source;
    write_file_atomically(part / "config.json", json.dump(2) + "\n");
    write_file_atomically(part / "pruning.json", description.dump() + "\n");
    write_file_atomically(part / "assignment.txt", to_text(space, assignment));
    if (smaller || config.pruned()) write_python_files(part);  // a pruned parent needs its code again
  });
  log_info("{} is complete: {} parameters", options.output.string(),
           human_count(static_cast<std::uint64_t>(space.parameters(assignment))));
}

}  // namespace galapagos
