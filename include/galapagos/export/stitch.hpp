#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/export/export_format.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/refit.hpp>

namespace galapagos {

struct StitchOptions : ExportOptions {
  std::filesystem::path output;
  std::vector<const ExportFormat*> formats = {&export_format_of("hf")};
  std::optional<RefitOptions> refit;  ///< of what levels keep of o_proj and down_proj

  /// Where a format goes: the output itself, or, where there are several, the folder of its name in there.
  std::filesystem::path folder_of(const ExportFormat& format) const {
    return formats.size() == 1 ? output : output / format.name;
  }
};

/// Collective. Writes the model of a checkpoint with an assignment's levels put in, in each format's folder,
/// with its tokenizer, and pruning.json, which lists what was kept of every layer in the numbering of the
/// unpruned model. The ranks write a part of the files each; the output gets its name once all of it is
/// there. A refit is computed on `context` before anything is written, and pruning.json says how. InputError
/// where it exists already or a format cannot hold the model, ResourceError where the disk is too small;
/// those of refit_levels().
void stitch(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
            const DatabaseReader& database, const SearchSpace& space, const Assignment& assignment,
            const StitchOptions& options, const ops::Context& context = ops::Context());

/// Collective. Writes a checkpoint as it is in other formats; of a pruned one `dense` is what the unpruned
/// model's own class loads. Errors as stitch().
void convert_model(const Communicator& comm, const Checkpoint& checkpoint, const HfConfig& config,
                   const StitchOptions& options);

}  // namespace galapagos
