#include "files.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/failure_board.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/darwinlm.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using namespace darwinlm;

RemovedColumns removed_columns(const DatabaseHeader& header) {
  RemovedColumns removed;
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    const auto common = header.common_levels(kind);
    if (!common || header.config.pruned()) {
      throw InputError("modules have levels of their own, as those of a pruned model", "--database",
                       "give the database of an unpruned model: DarwinLM's programs know one list");
    }
    for (const std::int64_t structures : *common)
      removed[kind].push_back(structures * header.layout({0, kind}).unit);
  }
  return removed;
}

std::uint64_t bytes_of(const DatabaseHeader& header) {
  constexpr std::uint64_t around = 4096;  // what a file has beside its weight
  std::uint64_t bytes = around;
  for (const ModuleId& module : header.modules()) {
    const auto weight =
        static_cast<std::uint64_t>(header.layout(module).columns * header.config.hidden_size) *
        size_of(header.dtype);
    bytes += header.removed(module).size() * (weight + around);
  }
  return bytes;
}

/// Makes the folders of all modules; on this rank alone.
void begin_folder(const fs::path& part, const fs::path& output, const DatabaseHeader& header) {
  if (fs::exists(output))
    throw InputError("there is something already", output.string(), "remove it or choose another --output");
  if (fs::exists(part) && !fs::is_directory(part))
    throw InputError("there is an unfinished file of something else", part.string(),
                     "finish or remove it, or choose another --output");
  fs::remove_all(part);  // of a run that was stopped
  const std::uint64_t needed = bytes_of(header), free = free_disk_bytes(part);
  if (needed > free) {
    throw ResourceError(
        fmt::format("the folder needs {} and {} are free", human_bytes(needed), human_bytes(free)),
        output.string(), "free space there or choose another file system");
  }
  for (const ModuleId& module : header.modules()) make_folders(part / name_of(module));
  log_info("{} modules, weights {}; the folder takes {}", header.modules().size(), name_of(header.dtype),
           human_bytes(needed));
}

/// Writes modules' levels, with memory that serves for all of them in turn.
class Exporter {
 public:
  Exporter(const ops::Context& context, const Checkpoint& checkpoint, const DatabaseReader& database,
           const fs::path& folder)
      : context_(context), checkpoint_(checkpoint), database_(database), folder_(folder) {}

  void write(const ModuleId& module) {
    const DatabaseHeader& header = database_.header();
    const std::int64_t hidden = header.config.hidden_size, columns = header.layout(module).columns;
    const auto matrix = [&](Shape shape) {
      return OwnedTensor(shape, header.dtype, Device::cpu, "a level's weight");
    };
    const OwnedTensor turned = matrix({columns, hidden}), dense = matrix({hidden, columns});
    const std::span<std::byte> words(dense->data, dense->bytes());
    for (std::int64_t level = 0; level < std::ssize(header.removed(module)); ++level) {
      if (level < header.first_stored()) {
        checkpoint_.read_rows(name_of(module) + ".weight", {hidden, columns}, 0, hidden, header.dtype, words);
      } else {
        spread(module, level, turned);
        ops::transpose(context_, turned, dense);
      }
      write_level(level_path(folder_, module, level), header.dtype, hidden, columns, words);
    }
  }

 private:
  /// A level's kept columns as rows of `turned` [columns, hidden], and zeros between them.
  void spread(const ModuleId& module, std::int64_t level, const Tensor& turned) {
    const std::vector<std::byte> stored = database_.level_bytes(module, level, true);
    const std::vector<std::int64_t> kept = database_.kept(module, level);
    const std::size_t row = static_cast<std::size_t>(turned.columns()) * size_of(turned.dtype);
    fill_zero(turned);
    for (std::size_t i = 0; i < kept.size(); ++i)
      std::memcpy(turned.data + static_cast<std::size_t>(kept[i]) * row, stored.data() + i * row, row);
  }

  const ops::Context& context_;
  const Checkpoint& checkpoint_;
  const DatabaseReader& database_;
  const fs::path& folder_;
};

}  // namespace

void export_darwinlm(const Communicator& world, const Checkpoint& checkpoint, const DatabaseReader& database,
                     const fs::path& output) {
  const Communicator comm = world.duplicate();
  const Stopwatch watch;
  const DatabaseHeader& header = database.header();
  const RemovedColumns removed = agree_on(comm, [&] { return removed_columns(header); });
  std::optional<OutputLock> lock;
  agree_at_root(comm, [&] { lock.emplace(output); });
  const fs::path part = part_path(output);
  agree_at_root(comm, [&] { begin_folder(part, output, header); });

  const ops::Context context;
  const std::vector<ModuleId> modules = header.modules();
  Exporter exporter(context, checkpoint, database, part);
  FailureBoard board(comm);
  Progress progress("modules of all ranks", std::ssize(modules));
  for (auto i = static_cast<std::size_t>(comm.rank()); i < modules.size() && !board.failed();
       i += static_cast<std::size_t>(comm.size())) {
    board.attempt([&] { exporter.write(modules[i]); });
    progress.advance(comm.size());
  }
  board.settle();
  agree_at_root(comm, [&] {
    write_metadata(part, removed);
    publish_file(part, output);
  });
  log_info("{} is complete: {} modules in {}", output.string(), modules.size(),
           human_duration(watch.seconds()));
}

}  // namespace galapagos
