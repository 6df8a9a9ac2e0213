#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {

/// What is kept of a module's G, the mean over tokens of g g^T with g [hidden] the gradient of the end loss
/// by the module's output: its lower triangle, its diagonal, or the mean of that.
enum class SensitivityForm : std::uint8_t { full, diagonal, scalar };

std::string name_of(SensitivityForm form);
/// UsageError for anything but full, diagonal, scalar.
SensitivityForm sensitivity_form_of(const std::string& name);

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

  /// All modules that there are, layer by layer, attention first.
  std::vector<ModuleId> modules() const;
  /// Numbers kept of each module: n (n + 1) / 2, n or 1, with n the hidden size.
  std::uint64_t values() const;
  /// Size of the whole file, to within its metadata.
  std::uint64_t file_bytes() const;
};

/// What is kept of modules, in the form of a header.
using Sensitivities = std::map<ModuleId, std::vector<float>>;

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
  /// diagonal, or its mean. Its checksum is compared.
  std::vector<float> values(const ModuleId& module) const;

 private:
  std::filesystem::path path_;
  Hdf5File file_;
  SensitivityHeader header_;
  std::int64_t batches_done_ = 0;
  std::string fingerprint_;
};

}  // namespace galapagos
