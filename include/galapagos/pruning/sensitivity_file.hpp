#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/pruning/module_id.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// What is kept of a module's G, the mean over tokens of g g^T with g [hidden] the gradient of the end loss
/// by the module's output: its lower triangle, its diagonal, the mean of that, or what a sketch of it gives.
enum class SensitivityForm : std::uint8_t { full, diagonal, scalar, lowrank };

std::string name_of(SensitivityForm form);

/// Numbers of a module in a form, of `rank` where that is a sketch.
std::uint64_t sensitivity_values(SensitivityForm form, std::int64_t rank, std::int64_t hidden);

/// Everything about a file of sensitivities but the sensitivities.
struct SensitivityHeader {
  std::string tool_version;
  std::string created;  ///< UTC, ISO 8601
  HfConfig config;
  std::string model_fingerprint;
  std::string assignment_fingerprint;  ///< of the levels put into the model; empty for the model as it is
  std::string calibration_fingerprint;
  std::int64_t calibration_tokens = 0;
  std::int64_t sequence_length = 0;
  std::int64_t batch_tokens = 0;  ///< computed at a time
  DType precision = DType::f32;   ///< of the working weights
  std::int64_t samples = 1;       ///< drawn per token
  std::int64_t seed = 0;
  SensitivityForm form = SensitivityForm::full;
  std::int64_t rank = 0;  ///< of the sketch, with form lowrank
  /// Where the first order of the divergence from the unpruned model is kept as well: the columns that
  /// modules() keep in the model that was measured. Else empty.
  std::vector<std::int64_t> kept;

  /// "full", "lowrank of rank 16".
  std::string form_text() const;
  bool has_first_order() const { return !kept.empty(); }
  /// All that G is kept of, layer by layer, attention first; of a mixture once, for all its experts.
  std::vector<ModuleId> modules() const { return parts_of(config); }
  /// Numbers kept of G of each module: n (n + 1) / 2, n, 1, or n (rank + 1), with n the hidden size.
  std::uint64_t values() const;
  /// Numbers of a module's weight, unpruned.
  std::uint64_t weight_values(const ModuleId& module) const;
  /// Size of the whole file, to within its metadata.
  std::uint64_t file_bytes() const;
};

/// What is kept of a module.
struct ModuleSensitivity {
  std::vector<float> curvature;  ///< G, in the form of a header
  /// Where a header has the first order, [columns, hidden] each, all columns of the unpruned module: the
  /// transpose of C, the mean over tokens of g a^T with g the gradient of the divergence and a the module's
  /// input; and, in a complete file, the weight that it has in the model, 0 where it is pruned.
  std::vector<float> first_order, in_place;
};
using Sensitivities = std::map<ModuleId, ModuleSensitivity>;

/// Throws InputError naming the first thing in which a run begun before differs from the one asked for now.
void check_same_sensitivity(const SensitivityHeader& found, const SensitivityHeader& wanted,
                            const std::string& path);

/// ResourceError where a disk has no room for so many files beside what is there.
void check_room(const SensitivityHeader& header, const std::filesystem::path& path, int files);

/// Collective. Every rank writes its modules, all ranks together all of them, and `path` gets its name when
/// all is on disk. `batches_done`: after which an unfinished run goes on, its values being sums over tokens;
/// 0 where it is complete.
void write_sensitivities(const Communicator& comm, const std::filesystem::path& path,
                         const SensitivityHeader& header, std::int64_t batches_done,
                         const Sensitivities& mine);

/// A file of sensitivities, opened to read on this rank alone. InputError wherever it is not as it should be.
class SensitivityReader {
 public:
  /// Of a complete one, or of an `unfinished` run's sums.
  explicit SensitivityReader(const std::filesystem::path& path, bool unfinished = false);

  const SensitivityHeader& header() const { return header_; }
  std::int64_t batches_done() const { return batches_done_; }
  /// Of all that it holds; a database made with it remembers it.
  const std::string& fingerprint() const { return fingerprint_; }
  /// G in nats per squared unit of the module's output, in the form kept: the lower triangle row by row, the
  /// diagonal, its mean, or of form lowrank as finish_sketch() (an unfinished run: Y and the diagonal). Its
  /// checksum is compared, as that of all:
  std::vector<float> values(const ModuleId& module) const;
  /// As ModuleSensitivity's; the second is not there in an unfinished run.
  std::vector<float> first_order(const ModuleId& module) const;
  std::vector<float> in_place(const ModuleId& module) const;

 private:
  std::vector<float> read(const ModuleId& module, const std::string& name, std::uint64_t count) const;

  std::filesystem::path path_;
  Hdf5File file_;
  SensitivityHeader header_;
  std::int64_t batches_done_ = 0;
  std::string fingerprint_;
};

}  // namespace galapagos
