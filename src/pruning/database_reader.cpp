#include "database_layout.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <iterator>
#include <map>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t most_levels = INT16_MAX;  // an assignment has no larger

[[noreturn]] void damaged(const std::string& what, const std::string& path) {
  throw InputError("the database is damaged: " + what, path, "remove it and make it anew");
}

[[noreturn]] void misfit(const std::string& what, const std::string& path) {
  throw ChecksumError(
      "the checksum of " + what + " does not fit", path,
      "use 'galapagos database --repair' with its options to prune this module again; convert "
      "anew what 'galapagos convert' has made");
}

DType dtype_named(const std::string& name, const std::string& path) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    if (layout::weight_type_name(dtype) == name) return dtype;
  }
  damaged("unknown dtype '" + printable(name) + "'", path);
}

DType precision_named(const std::string& name, const std::string& path) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    if (name_of(dtype) == name) return dtype;
  }
  damaged("unknown precision '" + printable(name) + "'", path);
}

AttentionUnit unit_named(const std::string& name, const std::string& path) {
  for (const AttentionUnit unit : {AttentionUnit::head, AttentionUnit::group, AttentionUnit::per_group}) {
    if (name_of(unit) == name) return unit;
  }
  damaged("unknown attention unit '" + printable(name) + "'", path);
}

/// Those of all modules of a kind are read once where they are the same.
void read_levels(const Hdf5File& file, DatabaseHeader& header, const std::string& path) {
  std::map<ModuleKind, std::vector<std::int64_t>> common;
  const auto read = [&](const std::string& name) {
    return file.read_values<std::int64_t>(name, Hdf5Type::i64, most_levels);
  };
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    if (file.has(layout::levels_path(kind))) common[kind] = read(layout::levels_path(kind));
  }
  for (const ModuleId& module : header.modules()) {
    const auto found = common.find(module.kind);
    std::vector<std::int64_t> removed =
        found == common.end() ? read(group_of(module) + "/removed") : found->second;
    const bool sound = removed.size() >= 2 && removed.front() == 0 &&
                       std::is_sorted(removed.begin(), removed.end(), std::less_equal<>()) &&
                       removed.back() <= header.layout(module).structures();
    if (!sound) damaged("impossible levels of " + name_of(module), path);
    header.levels.emplace_hint(header.levels.end(), module, std::move(removed));
  }
}

/// The path, once the levels are known, and whether weights were compensated on it.
void read_path(const Hdf5File& file, DatabaseHeader& header, const std::string& path) {
  if (file.has_attribute("/", "compensate")) header.compensation = file.read_string("/", "compensate");
  const bool stored = file.has_attribute("/", "level_zero") && file.read_integer("/", "level_zero") == 1;
  if (stored != (header.first_stored() == 0)) damaged("level_zero does not fit compensate", path);
  if (stored) header.batch_tokens = file.read_integer("/", "batch_tokens");
  if (!file.has_attribute("/", "path")) return;
  const std::vector<ModuleId> modules = header.modules();
  std::istringstream levels(file.read_string("/", "path"));
  for (std::int16_t level = 0; levels >> level;) header.path.push_back(level);
  bool sound = levels.eof() && header.path.size() == modules.size();
  for (std::size_t i = 0; sound && i < modules.size(); ++i)
    sound = header.path[i] >= 0 && header.path[i] < std::ssize(header.removed(modules[i]));
  if (!sound) damaged("impossible levels of its path", path);
}

DatabaseHeader read_header(const Hdf5File& file, const std::string& path) {
  const std::int64_t version = file.read_integer("/", "format_version");
  if (version < layout::format_version || version > layout::newest_version) {
    throw InputError(
        fmt::format("database format {}, this program reads up to {}", version, layout::newest_version), path,
        "use the version of Galapagos that made it");
  }
  DatabaseHeader header;
  header.tool_version = file.read_string("/", "tool_version");
  header.created = file.read_string("/", "created");
  header.config = parse_hf_config(parse_json(file.read_string("/", "model_config"), path), path);
  header.model_fingerprint = file.read_string("/", "model_fingerprint");
  header.calibration_fingerprint = file.read_string("/", "calibration_fingerprint");
  header.calibration_tokens = file.read_integer("/", "calibration_tokens");
  header.calibration_sequences = file.read_integer("/", "calibration_sequences");
  header.sequence_length = file.read_integer("/", "sequence_length");
  header.precision = precision_named(file.read_string("/", "precision"), path);
  header.relative_damping = file.read_double("/", "rel_damp");
  header.dtype = dtype_named(file.read_string("/", "dtype"), path);
  header.attention_unit = unit_named(file.read_string("/", "attention_unit"), path);
  if (file.has_attribute("/", "sensitivity_fingerprint"))
    header.sensitivity_fingerprint = file.read_string("/", "sensitivity_fingerprint");
  if (file.has_attribute("/", "end_loss_from")) header.end_loss_from = file.read_string("/", "end_loss_from");
  if (file.has_attribute("/", "imported_from")) header.imported_from = file.read_string("/", "imported_from");
  read_levels(file, header, path);
  read_path(file, header, path);
  return header;
}

}  // namespace

// A module has dozens of datasets: what shape each has is compared with the levels when it is read.
DatabaseReader::DatabaseReader(const std::filesystem::path& path)
    : path_(path), file_(Hdf5File::open(path)), header_(read_header(file_, path.string())) {
  complete_ = file_.read_integer("/", "complete") == 1;
  for (const ModuleId& module : header_.modules()) {
    const std::uint8_t state = values<std::uint8_t>(module, "state", Hdf5Type::u8, 1).front();
    if (state > 1 || (complete_ && state != 1))
      damaged("impossible state of " + name_of(module), path_.string());
    if (state == 1) done_.insert(done_.end(), module);
  }
}

template <typename T>
std::vector<T> DatabaseReader::values(const ModuleId& module, const std::string& name, Hdf5Type type,
                                      std::uint64_t count) const {
  const std::string at = group_of(module) + "/" + name;
  auto values = file_.read_values<T>(at, type, count);
  if (values.size() != count) damaged(at + " is shorter than the levels say", path_.string());
  return values;
}

std::vector<std::int32_t> DatabaseReader::order(const ModuleId& module) const {
  const StructureLayout layout = header_.layout(module);
  const auto most = static_cast<std::uint64_t>(header_.removed(module).back());
  auto order = values<std::int32_t>(module, "order", Hdf5Type::i32, most);
  std::vector<bool> seen(static_cast<std::size_t>(layout.structures()), false);
  bool sound = true;
  for (const std::int32_t structure : order) {
    sound = sound && structure >= 0 && structure < layout.structures() &&
            !seen[static_cast<std::size_t>(structure)];
    if (sound) seen[static_cast<std::size_t>(structure)] = true;
  }
  if (!sound) misfit(name_of(module) + " (order)", path_.string());
  // Whoever reads a level asks for its order first.
  if (done(module) && values<std::uint64_t>(module, "checksum", Hdf5Type::u64, 1).front() !=
                          layout::summary_checksum(order, loss(module), damping(module), end_loss(module),
                                                   layout::values_of(use(module))))
    misfit(name_of(module), path_.string());
  return order;
}

std::vector<double> DatabaseReader::loss(const ModuleId& module) const {
  return values<double>(module, "loss", Hdf5Type::f64,
                        static_cast<std::uint64_t>(header_.removed(module).back()));
}

std::vector<double> DatabaseReader::end_loss(const ModuleId& module) const {
  if (header_.sensitivity_fingerprint.empty()) return {};
  return values<double>(module, "end_loss", Hdf5Type::f64, header_.removed(module).size());
}

std::vector<double> DatabaseReader::damping(const ModuleId& module) const {
  return values<double>(module, "damping", Hdf5Type::f64, layout::damping_values);
}

std::optional<ExpertUse> DatabaseReader::use(const ModuleId& module) const {
  if (module.expert == no_expert) return std::nullopt;
  const auto used = values<double>(module, "use", Hdf5Type::f64, layout::use_values);
  return ExpertUse{used[0], used[1], used[2], used[3]};
}

std::vector<std::int64_t> DatabaseReader::kept(const ModuleId& module, std::int64_t level) const {
  return kept_columns(header_.layout(module), order(module),
                      header_.removed(module)[static_cast<std::size_t>(level)]);
}

std::vector<std::byte> DatabaseReader::level_bytes(const ModuleId& module, std::int64_t level,
                                                   bool verified) const {
  std::vector<std::byte> bytes;
  take_rows(module, level, 0, header_.kept_columns(module, level), bytes);
  if (verified) check_level(module, level, bytes);
  return bytes;
}

void DatabaseReader::read_level(const ModuleId& module, std::int64_t level,
                                std::span<std::byte> words) const {
  file_.read_rows(layout::level_path(module, level) + "/weight", layout::weight_type(header_.dtype),
                  shape_of(module, level), 0, words);
  check_level(module, level, words);
}

void DatabaseReader::check_level(const ModuleId& module, std::int64_t level,
                                 std::span<const std::byte> words) const {
  const std::uint64_t checksum =
      values<std::uint64_t>(module, layout::level_name(level) + "/checksum", Hdf5Type::u64, 1).front();
  if (checksum != Hash64().add(words).value())
    misfit(fmt::format("{} level {}", name_of(module), level), path_.string());
}

std::array<std::uint64_t, 2> DatabaseReader::shape_of(const ModuleId& module, std::int64_t level) const {
  return {static_cast<std::uint64_t>(header_.kept_columns(module, level)),
          static_cast<std::uint64_t>(header_.config.hidden_size)};
}

void DatabaseReader::take_rows(const ModuleId& module, std::int64_t level, std::int64_t first,
                               std::int64_t count, std::vector<std::byte>& words) const {
  file_.read_rows(layout::level_path(module, level) + "/weight", layout::weight_type(header_.dtype),
                  shape_of(module, level), static_cast<std::uint64_t>(first),
                  static_cast<std::uint64_t>(count), words);
}

std::span<const std::byte> DatabaseReader::read_level_rows(const ModuleId& module, std::int64_t level,
                                                           std::int64_t first, std::int64_t count,
                                                           bool verified,
                                                           std::vector<std::byte>& storage) const {
  if (!verified) {
    take_rows(module, level, first, count, storage);
    return storage;
  }
  take_rows(module, level, 0, header_.kept_columns(module, level), storage);
  check_level(module, level, storage);
  const std::size_t row = static_cast<std::size_t>(header_.config.hidden_size) * size_of(header_.dtype);
  return std::span<const std::byte>(storage).subspan(static_cast<std::size_t>(first) * row,
                                                     static_cast<std::size_t>(count) * row);
}

void DatabaseReader::verify(const ModuleId& module) const {
  order(module);
  for (std::int64_t level = header_.first_stored(); level < std::ssize(header_.removed(module)); ++level)
    level_bytes(module, level, true);
}

}  // namespace galapagos
