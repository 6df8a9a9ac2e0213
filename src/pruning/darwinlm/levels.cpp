#include "import_task.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos::darwinlm {
namespace {

/// Structures removed, of columns removed. InputError where columns are not whole structures, or too many.
std::vector<std::int64_t> structures_of(const std::vector<std::int64_t>& columns,
                                        const StructureLayout& layout, const ModuleId& module,
                                        const std::string& where) {
  std::vector<std::int64_t> structures;
  for (const std::int64_t count : columns) {
    if (count > layout.columns || count % layout.unit != 0) {
      throw InputError(
          fmt::format("{} columns removed of {}'s {}, of which {} belong together", count, name_of(module),
                      layout.columns, layout.unit),
          where,
          "give the model that the database was made from; where its head_dim is not hidden_size / "
          "num_attention_heads, DarwinLM's programs have not pruned whole heads");
    }
    structures.push_back(count / layout.unit);
  }
  return structures;
}

/// The levels of all modules by metadata.pth; on this rank alone.
void take_named_levels(ImportTask& task, const RemovedColumns& removed) {
  const std::string where = (task.folder / "metadata.pth").string();
  for (const ModuleId& module : task.header.modules()) {
    task.header.levels[module] =
        structures_of(removed.at(module.kind), task.header.layout(module), module, where);
    if (const std::int64_t there = count_levels(task.folder, module);
        there != std::ssize(task.header.removed(module))) {
      throw InputError(
          fmt::format("{} levels, and {} in metadata.pth", there, task.header.removed(module).size()),
          (task.folder / name_of(module)).string(), "give a whole database of DarwinLM");
    }
  }
}

/// Collective. The root's levels, on all ranks.
void share_levels(const Communicator& comm, DatabaseHeader& header) {
  std::vector<std::int64_t> all;  // of each module how many, and what they remove
  if (comm.is_root()) {
    for (const ModuleId& module : header.modules()) {
      const std::vector<std::int64_t>& removed = header.removed(module);
      all.push_back(std::ssize(removed));
      all.insert(all.end(), removed.begin(), removed.end());
    }
  }
  comm.broadcast(all);
  auto next = all.begin();
  for (const ModuleId& module : header.modules()) {
    const std::int64_t count = *next++;
    header.levels[module].assign(next, next + count);
    next += count;
  }
}

/// Collective. On the root, the levels of all modules where nothing says how many columns they remove: as
/// many as are zero.
void find_levels(const Communicator& comm, ImportTask& task) {
  log_warning_once(task.folder.string() +
                   " has no metadata.pth: what is removed is told by columns of zeros alone");
  std::vector<std::int64_t> mine;  // of each module how many levels, and what they remove
  agree(comm, [&] {
    for (const ModuleId& module : modules_of_rank(comm.rank(), comm.size(), task.header.config)) {
      const auto levels = open_levels(task, module, count_levels(task.folder, module));
      const std::vector<std::int64_t> removed = lasting_zeros(zeros_of(task, module, levels));
      if (std::ranges::adjacent_find(removed, std::greater_equal<>()) != removed.end())
        throw InputError("two levels remove as much", (task.folder / name_of(module)).string(),
                         "give a whole database of DarwinLM with its metadata.pth");
      mine.push_back(std::ssize(removed));
      mine.insert(mine.end(), removed.begin(), removed.end());
    }
  });
  const std::vector<std::int64_t> all = comm.gather(std::span<const std::int64_t>(mine));
  if (!comm.is_root()) return;
  auto next = all.begin();
  for (int rank = 0; rank < comm.size(); ++rank) {
    for (const ModuleId& module : modules_of_rank(rank, comm.size(), task.header.config)) {
      const std::int64_t count = *next++;
      task.header.levels[module].assign(next, next + count);
      next += count;
    }
  }
}

}  // namespace

std::vector<ModuleId> modules_of_rank(int rank, int ranks, const HfConfig& config) {
  std::vector<ModuleId> dealt;
  const std::vector<ModuleId> all = modules_of(config);
  for (auto i = static_cast<std::size_t>(rank); i < all.size(); i += static_cast<std::size_t>(ranks))
    dealt.push_back(all[i]);
  return dealt;
}

std::vector<DenseLevel> open_levels(const ImportTask& task, const ModuleId& module, std::int64_t count) {
  std::vector<DenseLevel> levels;
  for (std::int64_t level = 1; level < count; ++level) {
    levels.push_back(task.open(module, level));
    if (levels.back().dtype() != task.header.dtype)
      throw InputError("weights of another type than the first module's",
                       level_path(task.folder, module, level).string(), "give levels of one type");
  }
  return levels;
}

ZeroStructures zeros_of(const ImportTask& task, const ModuleId& module, std::span<const DenseLevel> levels) {
  ZeroStructures zero;
  for (const DenseLevel& level : levels)
    zero.push_back(level.zero_structures(task.header.layout(module).unit));
  return zero;
}

void take_levels(const Communicator& comm, ImportTask& task) {
  // One rank looks for all, which must not go different ways where they see different files.
  bool named = false;
  agree_at_root(comm, [&] {
    task.header.dtype = task.open(task.header.modules().front(), 1).dtype();
    const auto removed = read_metadata(task.folder);
    named = removed.has_value();
    if (named) take_named_levels(task, *removed);
  });
  task.header.dtype = comm.broadcast_value(task.header.dtype);
  task.header.precision = task.header.dtype;
  if (!comm.broadcast_value(named)) find_levels(comm, task);
  share_levels(comm, task.header);
}

}  // namespace galapagos::darwinlm
