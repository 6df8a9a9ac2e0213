#pragma once

#include "files.hpp"
#include "order.hpp"

#include <cstdint>
#include <filesystem>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos::darwinlm {

/// What is imported, from where.
struct ImportTask {
  const ops::Context& context;
  const Checkpoint& checkpoint;
  const std::filesystem::path& folder;
  DatabaseHeader header;

  std::int64_t hidden() const { return header.config.hidden_size; }
  DenseLevel open(const ModuleId& module, std::int64_t level) const {
    return {level_path(folder, module, level), hidden(), header.layout(module).columns};
  }
};

/// The modules of a rank: they are dealt in turn.
std::vector<ModuleId> modules_of_rank(int rank, int ranks, const HfConfig& config);

/// A module's levels 1 to count - 1. InputError where they are not all of the database's type.
std::vector<DenseLevel> open_levels(const ImportTask& task, const ModuleId& module, std::int64_t count);

/// Which structures are zero at levels 1, 2, ....
ZeroStructures zeros_of(const ImportTask& task, const ModuleId& module, std::span<const DenseLevel> levels);

/// Collective. Gives the header its type and the levels of all modules: what metadata.pth says, or where that
/// is missing what is zero. InputError where that is no whole database of this model.
void take_levels(const Communicator& comm, ImportTask& task);

}  // namespace galapagos::darwinlm
