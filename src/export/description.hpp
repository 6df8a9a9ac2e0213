#pragma once

#include <filesystem>
#include <span>

#include <galapagos/assignment/space.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/export_format.hpp>
#include <galapagos/pruning/refit.hpp>

namespace galapagos {

/// pruning.json: what is kept of every layer, in the numbering of the model that was never pruned. `parent`:
/// the folder of the model that the assignment prunes, which may be a pruned one itself; a
/// format that keeps the shapes of such a one also says what is present, zeros included.
Json pruning_description(const std::filesystem::path& parent, const HfConfig& config,
                         const SearchSpace& space, const Assignment& assignment, const ExportFormat& format);

/// "refit" of pruning.json: how levels were refitted, on what, and the ridge of each module; null where its
/// weight stays, or is gone.
Json refit_description(const RefitOptions& options, std::span<const ModuleId> modules,
                       const RefittedLevels& refitted);

}  // namespace galapagos
