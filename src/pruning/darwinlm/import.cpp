#include "import_task.hpp"
#include "order.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/failure_board.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/darwinlm.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using namespace darwinlm;

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// Stands for the calibration data, which is unknown: tells folders apart by names, sizes and last bytes,
/// where the checksums are.
std::string fingerprint_of(const fs::path& folder, const DatabaseHeader& header) {
  Hash64 hash;
  for (const auto& [module, removed] : header.levels) {
    for (std::int64_t level = 0; level < std::ssize(removed); ++level) {
      const fs::path path = level_path(folder, module, level);
      const std::uint64_t size = fs::file_size(path);
      std::vector<std::byte> last(std::min<std::uint64_t>(size, 4096));
      FileDescriptor(path, O_RDONLY).read_at(last, size - last.size());
      hash.add(name_of(module)).add(size).add(last);
    }
  }
  return "unknown, of DarwinLM's files " + hex64(hash.value());
}

/// InputError where level 0 is not the model's own weight, rounded to the database's type.
void check_level_zero(const ImportTask& task, const ModuleId& module) {
  const DenseLevel level = task.open(module, 0);
  std::vector<std::byte> own(level.words().size());
  task.checkpoint.read_rows(name_of(module) + ".weight", {task.hidden(), task.header.layout(module).columns},
                            0, task.hidden(), level.dtype(), own);
  if (level.dtype() != task.header.dtype || !std::ranges::equal(own, level.words())) {
    throw InputError("level 0 is not the model's own weight", level_path(task.folder, module, 0).string(),
                     "give the model that the database was made from");
  }
}

/// The columns `kept` of a level, one a row.
OwnedTensor compact(const ImportTask& task, const DenseLevel& level, std::int64_t columns,
                    std::span<const std::int64_t> kept) {
  const DType type = level.dtype();
  const auto matrix = [&](Shape shape) { return OwnedTensor(shape, type, Device::cpu, "a level's weight"); };
  const OwnedTensor dense = matrix({task.hidden(), columns}), turned = matrix({columns, task.hidden()});
  std::memcpy(dense->data, level.words().data(), level.words().size());
  ops::transpose(task.context, dense, turned);
  OwnedTensor rows = matrix({std::ssize(kept), task.hidden()});
  if (!kept.empty()) ops::gather_rows(task.context, turned, kept, rows);
  return rows;
}

/// Writes a module; how many structures it keeps that are zero.
std::int64_t import_module(const ImportTask& task, const ModuleId& module, DatabaseWriter& writer) {
  check_level_zero(task, module);
  const StructureLayout layout = task.header.layout(module);
  const auto& removed = task.header.removed(module);
  const std::vector<DenseLevel> levels = open_levels(task, module, std::ssize(removed));
  const RemovalOrder order =
      removal_order(zeros_of(task, module, levels), removed, (task.folder / name_of(module)).string());
  for (std::size_t level = 1; level < removed.size(); ++level) {
    const auto kept = kept_columns(layout, order.structures, removed[level]);
    writer.write_level(module, static_cast<std::int64_t>(level),
                       compact(task, levels[level - 1], layout.columns, kept));
  }
  ObsSummary summary;
  summary.order = order.structures;
  summary.loss.assign(order.structures.size(), unknown);
  summary.relative_damping = unknown;
  summary.attempts = 0;
  writer.finish_module(module, summary);
  return order.kept_zeros;
}

/// InputError where what lies under the name of an unfinished file is no conversion that was stopped.
void check_part(const fs::path& part) {
  if (!fs::exists(part)) return;
  bool ours = false;
  try {
    ours = !DatabaseReader(part).header().imported_from.empty();
  } catch (const Error&) {
    ours = false;
  }
  if (!ours)
    throw InputError("there is an unfinished file of something else", part.string(),
                     "finish or remove it, or choose another --output");
}

/// Collective.
void plan(const Communicator& comm, ImportTask& task, const fs::path& output) {
  agree_at_root(comm, [&] {
    if (fs::exists(output))
      throw InputError("there is something already", output.string(), "remove it or choose another --output");
    check_part(part_path(output));
    if (!fs::is_directory(task.folder))
      throw InputError("there is no such folder", task.folder.string(), "check the path");
    task.header.created = utc_now();
  });
  task.header.created = comm.broadcast_string(task.header.created);
  take_levels(comm, task);
  agree_at_root(comm,
                [&] { task.header.calibration_fingerprint = fingerprint_of(task.folder, task.header); });
  task.header.calibration_fingerprint = comm.broadcast_string(task.header.calibration_fingerprint);
}

}  // namespace

void import_darwinlm(const Communicator& world, const Checkpoint& checkpoint, const HfConfig& config,
                     const std::string& model_fingerprint, const fs::path& folder, const fs::path& output) {
  const Communicator comm = world.duplicate();
  const Stopwatch watch;
  std::optional<OutputLock> lock;
  agree_at_root(comm, [&] { lock.emplace(output); });
  const ops::Context context;
  ImportTask task{context, checkpoint, folder, {}};
  task.header.tool_version = version();
  task.header.config = config;
  task.header.model_fingerprint = model_fingerprint;
  task.header.relative_damping = unknown;
  task.header.imported_from = "DarwinLM";
  plan(comm, task, output);
  log_info("{}: {} modules, weights {}; the database takes {}", folder.string(), task.header.modules().size(),
           name_of(task.header.dtype), human_bytes(task.header.file_bytes()));

  const fs::path part = part_path(output);
  agree_at_root(comm, [&] { create_database(part, task.header); });
  auto thread = agree_on(comm, [&] { return DatabaseWriter::begin_thread(part); });
  auto writer = agree_on(comm, [&] { return DatabaseWriter(part, comm, std::move(thread), task.header); });
  const std::vector<ModuleId> mine = modules_of_rank(comm.rank(), comm.size(), config);
  std::int64_t kept_zeros = 0;
  FailureBoard board(comm);
  Progress progress("imported modules of this rank", std::ssize(mine));
  for (const ModuleId& module : mine) {
    board.attempt([&] { kept_zeros += import_module(task, module, writer); });
    if (board.failed()) break;
    progress.advance();
  }
  board.attempt([&] { writer.drain(); });
  board.settle();
  agree(comm, [&] { writer.close(); });
  kept_zeros = comm.sum(kept_zeros);
  if (kept_zeros > 0) {
    log_info(
        "{} structures are kept at a level though their weights are zero there: which of these are kept "
        "is not in the files, nor does it change what a model computes",
        human_count(static_cast<std::uint64_t>(kept_zeros)));
  }
  agree_at_root(comm, [&] { complete_database(part, output); });
  log_info(
      "{} is complete: {} modules in {}; losses are unknown, structures that one level removes are in "
      "ascending order",
      output.string(), task.header.modules().size(), human_duration(watch.seconds()));
}

}  // namespace galapagos
