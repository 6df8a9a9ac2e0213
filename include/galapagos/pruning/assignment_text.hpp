#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include <galapagos/pruning/database.hpp>

namespace galapagos {

/// Reads the text of an assignment, a line "model.layers.3.mlp.down_proj: 5" per module in any order: the
/// level of each of `modules`, which have levels 0 to `last`. InputError naming the line or module where one
/// is unknown, missing, given twice, or its level out of range.
std::vector<std::int16_t> read_assignment_text(std::span<const ModuleId> modules,
                                               std::span<const std::int16_t> last,
                                               const std::filesystem::path& path);

}  // namespace galapagos
