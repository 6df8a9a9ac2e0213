#include "database_layout.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <iterator>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {

namespace {

/// The groups and datasets of a module, which is not done. `own_levels`: those of its kind differ.
void create_module(Hdf5File& file, const DatabaseHeader& header, const ModuleId& module, bool own_levels) {
  const std::string at = group_of(module);
  file.create_group(at);
  const auto& removed = header.removed(module);
  if (own_levels) {
    file.create_dataset(at + "/removed", Hdf5Type::i64, {removed.size()});
    file.write_values(at + "/removed", Hdf5Type::i64, removed);
  }
  const auto most = static_cast<std::uint64_t>(removed.back());
  file.create_dataset(at + "/order", Hdf5Type::i32, {most});
  file.create_dataset(at + "/loss", Hdf5Type::f64, {most});
  if (!header.sensitivity_fingerprint.empty())
    file.create_dataset(at + "/end_loss", Hdf5Type::f64, {removed.size()});
  file.create_dataset(at + "/damping", Hdf5Type::f64, {layout::damping_values});
  if (module.expert != no_expert) file.create_dataset(at + "/use", Hdf5Type::f64, {layout::use_values});
  file.create_dataset(at + "/checksum", Hdf5Type::u64, {1});
  file.create_dataset(at + "/state", Hdf5Type::u8, {1});
  file.write_values<std::uint8_t>(at + "/state", Hdf5Type::u8, {0});
  for (std::int64_t level = header.first_stored(); level < std::ssize(removed); ++level) {
    const std::string place = layout::level_path(module, level);
    const auto kept = static_cast<std::uint64_t>(header.kept_columns(module, level));
    file.create_group(place);
    file.create_dataset(place + "/weight", layout::weight_type(header.dtype),
                        {kept, static_cast<std::uint64_t>(header.config.hidden_size)});
    file.write_attribute(place + "/weight", "dtype", layout::weight_type_name(header.dtype));
    file.create_dataset(place + "/checksum", Hdf5Type::u64, {1});
  }
}

}  // namespace

void create_database(const std::filesystem::path& path, const DatabaseHeader& header) {
  const std::uint64_t needed = header.file_bytes(), free = free_disk_bytes(path);
  if (needed > free) {
    throw ResourceError(
        fmt::format("the database needs {} and {} are free", human_bytes(needed), human_bytes(free)),
        path.string(), "free space there, choose another file system, or ask for fewer levels");
  }
  const std::filesystem::path unfinished = path.string() + ".new";
  Hdf5File file = Hdf5File::create(unfinished);
  file.create_group("/levels");
  std::map<ModuleKind, bool> own_levels;
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    const auto common = header.common_levels(kind);
    own_levels[kind] = !common;
    if (!common) continue;
    file.create_dataset(layout::levels_path(kind), Hdf5Type::i64, {common->size()});
    file.write_values(layout::levels_path(kind), Hdf5Type::i64, *common);
  }
  for (const ModuleId& module : header.modules())
    create_module(file, header, module, own_levels[module.kind]);
  file.write_attribute("/", "format_version",
                       !header.end_loss_from.empty() ? layout::newest_version
                       : header.first_stored() == 0  ? layout::stored_zero_version
                                                     : layout::format_version);
  file.write_attribute("/", "tool_version", header.tool_version);
  file.write_attribute("/", "created", header.created);
  file.write_attribute("/", "model_config", header.config.source.dump());
  file.write_attribute("/", "model_fingerprint", header.model_fingerprint);
  file.write_attribute("/", "calibration_fingerprint", header.calibration_fingerprint);
  file.write_attribute("/", "calibration_tokens", header.calibration_tokens);
  file.write_attribute("/", "calibration_sequences", header.calibration_sequences);
  file.write_attribute("/", "sequence_length", header.sequence_length);
  file.write_attribute("/", "precision", name_of(header.precision));
  file.write_attribute("/", "rel_damp", header.relative_damping);
  file.write_attribute("/", "dtype", layout::weight_type_name(header.dtype));
  file.write_attribute("/", "attention_unit", name_of(header.attention_unit));
  if (!header.path.empty()) file.write_attribute("/", "path", fmt::format("{}", fmt::join(header.path, " ")));
  if (!header.compensation.empty()) {
    file.write_attribute("/", "compensate", header.compensation);
    file.write_attribute("/", "level_zero", std::int64_t{1});
    file.write_attribute("/", "batch_tokens", header.batch_tokens);
  }
  if (!header.sensitivity_fingerprint.empty())
    file.write_attribute("/", "sensitivity_fingerprint", header.sensitivity_fingerprint);
  if (!header.end_loss_from.empty()) file.write_attribute("/", "end_loss_from", header.end_loss_from);
  if (!header.imported_from.empty()) file.write_attribute("/", "imported_from", header.imported_from);
  file.write_attribute("/", "complete", std::int64_t{0});
  file.close();
  publish_file(unfinished, path);
}

namespace {

/// Bytes that wait to be written beside levels: orders and losses.
constexpr std::size_t most_waiting = std::size_t{1} << 22;

/// Bytes of the largest level's weight.
std::size_t largest_level(const DatabaseHeader& header) {
  std::int64_t most = 0;
  for (const ModuleId& module : header.modules()) {
    most = std::max(most, header.kept_columns(module, header.first_stored()));
  }
  return static_cast<std::size_t>(most * header.config.hidden_size) * size_of(header.dtype);
}

}  // namespace

std::unique_ptr<WriteBehind> DatabaseWriter::begin_thread(const std::filesystem::path& path) {
  return std::make_unique<WriteBehind>(FileDescriptor(path, O_RDWR), most_waiting);
}

DatabaseWriter::DatabaseWriter(const std::filesystem::path& path, const Communicator& comm,
                               std::unique_ptr<WriteBehind> thread, const DatabaseHeader& header)
    : file_(Hdf5File::open_parallel(path, comm)),
      writer_(std::move(thread), largest_level(header)),
      dtype_(header.dtype) {}

void DatabaseWriter::write(const std::string& name, Hdf5Type type, std::vector<std::byte> bytes) {
  if (bytes.empty()) return;
  const std::uint64_t place = file_.place_of(name, type, bytes.size());
  writer_.thread().write(std::move(bytes), place);
}

template <typename T>
void DatabaseWriter::write_values(const std::string& name, Hdf5Type type, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  write(name, type, {bytes.begin(), bytes.end()});
}

void DatabaseWriter::write_level(const ModuleId& module, std::int64_t level, const Tensor& weight) {
  const std::string at = layout::level_path(module, level);
  if (weight.dtype != dtype_) {
    throw FailureError(name_of(weight.dtype) + " for a level that is stored as " + name_of(dtype_), at,
                       "report this as a defect");
  }
  if (weight.empty()) return write_values<std::uint64_t>(at + "/checksum", Hdf5Type::u64, {Hash64().value()});
  writer_.write(weight, file_.place_of(at + "/weight", layout::weight_type(dtype_), weight.bytes()),
                file_.place_of(at + "/checksum", Hdf5Type::u64, sizeof(std::uint64_t)));
}

void DatabaseWriter::finish_module(const ModuleId& module, const ObsSummary& summary,
                                   const std::optional<ExpertUse>& use) {
  const std::string at = group_of(module);
  const std::vector<double> damping = {summary.relative_damping, static_cast<double>(summary.attempts),
                                       static_cast<double>(summary.dead_columns)};
  write_values(at + "/order", Hdf5Type::i32, summary.order);
  write_values(at + "/loss", Hdf5Type::f64, summary.loss);
  if (!summary.end_loss.empty()) write_values(at + "/end_loss", Hdf5Type::f64, summary.end_loss);
  write_values(at + "/damping", Hdf5Type::f64, damping);
  const std::vector<double> used = layout::values_of(use);
  if (use) write_values(at + "/use", Hdf5Type::f64, used);
  write_values<std::uint64_t>(
      at + "/checksum", Hdf5Type::u64,
      {layout::summary_checksum(summary.order, summary.loss, damping, summary.end_loss, used)});
  writer_.thread().mark({std::byte{1}}, file_.place_of(at + "/state", Hdf5Type::u8, 1));
}

void reopen_database(const std::filesystem::path& path, const std::filesystem::path& part,
                     std::span<const ModuleId> missing) {
  if (path != part) std::filesystem::rename(path, part);
  Hdf5File file = Hdf5File::open_to_change(part);
  file.write_attribute("/", "complete", std::int64_t{0});
  for (const ModuleId& module : missing) {
    file.write_values<std::uint8_t>(group_of(module) + "/state", Hdf5Type::u8, {0});
  }
  file.close();
}

void complete_database(const std::filesystem::path& part, const std::filesystem::path& path) {
  Hdf5File file = Hdf5File::open_to_change(part);
  file.write_attribute("/", "complete", std::int64_t{1});
  file.close();
  publish_file(part, path);
}

}  // namespace galapagos
