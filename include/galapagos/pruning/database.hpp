#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/pruning/expert_use.hpp>
#include <galapagos/pruning/levels.hpp>
#include <galapagos/pruning/module_id.hpp>
#include <galapagos/pruning/obs.hpp>
#include <galapagos/pruning/staged_writer.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// Everything about a pruning database but its arrays.
struct DatabaseHeader {
  std::string tool_version;
  std::string created;  ///< UTC, ISO 8601
  HfConfig config;
  std::string model_fingerprint;
  std::string calibration_fingerprint;
  std::int64_t calibration_tokens = 0;
  std::int64_t calibration_sequences = 0;
  std::int64_t sequence_length = 0;
  DType precision = DType::f32;  ///< of the working weights in the collection
  double relative_damping = 1e-2;
  DType dtype = DType::f32;
  AttentionUnit attention_unit = AttentionUnit::head;
  std::string sensitivity_fingerprint;  ///< of what weighed the order and gave end losses; empty without
  /// "kl" where end losses are changes of the divergence from the model on the path, which may be negative;
  /// empty where they are what levels cost the model's own likelihood.
  std::string end_loss_from;
  /// The level of each of modules() on the path that Hessians were collected on; empty: the unpruned model.
  std::vector<std::int16_t> path;
  std::string compensation;  ///< ridge of the weights' compensation on that path, or "auto"; empty without
  std::int64_t batch_tokens = 0;  ///< with compensation: what is held out to choose ridges on depends on it
  /// Whose files it was made of; losses and damping are then NaN, calibration unknown. Empty: its own.
  std::string imported_from;
  std::map<ModuleId, std::vector<std::int64_t>> levels;  ///< structures removed at levels 0, 1, ...

  const std::vector<std::int64_t>& removed(const ModuleId& module) const { return levels.at(module); }
  StructureLayout layout(const ModuleId& module) const;
  /// All modules that there are, layer by layer, attention first.
  std::vector<ModuleId> modules() const { return modules_of(config); }
  /// The levels of all modules of a kind where they are the same, else nothing.
  std::optional<std::vector<std::int64_t>> common_levels(ModuleKind kind) const;
  /// The first level whose weights the file holds: those of level 0 are the model's own unless they are
  /// compensated.
  std::int64_t first_stored() const { return compensation.empty() ? 1 : 0; }
  /// Columns kept at a level.
  std::int64_t kept_columns(const ModuleId& module, std::int64_t level) const;
  /// Size of the whole file, to within its metadata.
  std::uint64_t file_bytes() const;
};

/// Throws InputError naming the first thing in which a database made before differs from the one asked for
/// now.
void check_same_database(const DatabaseHeader& found, const DatabaseHeader& wanted, const std::string& path);

/// Makes the file with all its groups and datasets at their final size and no module done, on this rank
/// alone, and only then gives it the name `path`: a file of that name is always complete in its metadata.
/// ResourceError where the disk is too small.
void create_database(const std::filesystem::path& path, const DatabaseHeader& header);

/// Adds modules to a database that create_database made. HDF5 says where in the file each dataset lies; the
/// bytes go there on a thread of its own, which calls neither HDF5 nor MPI, while the next level or module is
/// pruned. Construction and close are collective; in between each rank writes its own modules whenever it
/// likes. A failure to write is thrown by one of the calls that follow, by drain() at the latest.
class DatabaseWriter {
 public:
  /// Not collective, but to be agreed on before any rank goes on: the thread that writes to the file.
  static std::unique_ptr<WriteBehind> begin_thread(const std::filesystem::path& path);
  DatabaseWriter(const std::filesystem::path& path, const Communicator& comm,
                 std::unique_ptr<WriteBehind> thread, const DatabaseHeader& header);

  /// The compact weight [kept, d_row] of a level that is stored, of the database's type, on any device. It
  /// is copied before this returns, into one of two buffers, which may take until an earlier level is
  /// written.
  void write_level(const ModuleId& module, std::int64_t level, const Tensor& weight);
  /// The order and losses; then, once all is on disk, within a second or so, the mark that the module is
  /// done.
  void finish_module(const ModuleId& module, const ObsSummary& summary,
                     const std::optional<ExpertUse>& use = {});
  /// Returns when all is on disk.
  void drain() { writer_.thread().drain(); }
  /// After drain().
  void close() { file_.close(); }

 private:
  void write(const std::string& name, Hdf5Type type, std::vector<std::byte> bytes);
  template <typename T>
  void write_values(const std::string& name, Hdf5Type type, const std::vector<T>& values);

  Hdf5File file_;
  StagedWriter writer_;
  DType dtype_;
};

/// Sets the attribute `complete` and renames `part` to `path`, on this rank alone.
void complete_database(const std::filesystem::path& part, const std::filesystem::path& path);

/// The way back, to repair: `path` becomes the unfinished `part`, with `missing` marked as not done. On this
/// rank alone.
void reopen_database(const std::filesystem::path& path, const std::filesystem::path& part,
                     std::span<const ModuleId> missing);

/// A module whose data do not fit their checksums, in a file that is sound otherwise: it can be done again.
struct ChecksumError : InputError {
  using InputError::InputError;
};

/// A database, complete or not, opened to read on this rank alone. InputError wherever the file is not as it
/// should be, of what belongs to a module when it is read.
class DatabaseReader {
 public:
  explicit DatabaseReader(const std::filesystem::path& path);

  const DatabaseHeader& header() const { return header_; }
  bool complete() const { return complete_; }
  bool done(const ModuleId& module) const { return done_.contains(module); }
  std::vector<std::int32_t> order(const ModuleId& module) const;
  std::vector<double> loss(const ModuleId& module) const;
  /// What levels 0, 1, ... cost in end loss, nats per token; empty where no sensitivity weighed the order.
  std::vector<double> end_loss(const ModuleId& module) const;
  /// Relative damping used, factorisations tried, dead columns.
  std::vector<double> damping(const ModuleId& module) const;
  /// Of an expert; nothing of other modules.
  std::optional<ExpertUse> use(const ModuleId& module) const;
  /// The kept columns of a level, ascending.
  std::vector<std::int64_t> kept(const ModuleId& module, std::int64_t level) const;
  /// The compact weight as stored: [kept, d_row] words of header().dtype; ChecksumError where `verified` and
  /// its checksum does not fit.
  std::vector<std::byte> level_bytes(const ModuleId& module, std::int64_t level, bool verified = false) const;
  /// The same, verified, to `words`, of as many bytes.
  void read_level(const ModuleId& module, std::int64_t level, std::span<std::byte> words) const;
  /// `count` rows of it from `first` on, that is columns of the weight; with `verified` all of it is read and
  /// compared. In `storage`, which may have held other levels before, so that the system need not clear it
  /// anew.
  std::span<const std::byte> read_level_rows(const ModuleId& module, std::int64_t level, std::int64_t first,
                                             std::int64_t count, bool verified,
                                             std::vector<std::byte>& storage) const;
  /// Compares all checksums of a module that is done; ChecksumError naming the first that does not fit.
  void verify(const ModuleId& module) const;

 private:
  std::array<std::uint64_t, 2> shape_of(const ModuleId& module, std::int64_t level) const;
  void check_level(const ModuleId& module, std::int64_t level, std::span<const std::byte> words) const;
  /// `count` values that belong to a module.
  template <typename T>
  std::vector<T> values(const ModuleId& module, const std::string& name, Hdf5Type type,
                        std::uint64_t count) const;
  void take_rows(const ModuleId& module, std::int64_t level, std::int64_t first, std::int64_t count,
                 std::vector<std::byte>& words) const;

  std::filesystem::path path_;
  Hdf5File file_;
  DatabaseHeader header_;
  bool complete_ = false;
  std::set<ModuleId> done_;  // when it was opened
};

}  // namespace galapagos
