#include "description.hpp"
#include "model_folder.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {

ExportFormat export_format_of(const std::string& name) {
  if (name == "hf") return ExportFormat::hf;
  if (name == "dense") return ExportFormat::dense;
  throw UsageError("unknown format '" + printable(name) + "'", "--format", "choose hf or dense");
}

void stitch(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
            const DatabaseReader& database, const SearchSpace& space, const Assignment& assignment,
            const StitchOptions& options) {
  const bool smaller = options.format == ExportFormat::hf;
  std::vector<PlannedTensor> tensors;
  Json description;
  agree(comm, [&] {
    description = pruning_description(checkpoint.folder(), config, space, assignment, options.format);
    tensors = plan_tensors(checkpoint, config, database, space, assignment, options.format);
  });
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
