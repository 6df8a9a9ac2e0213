#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

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
  std::string calibration_fingerprint;
  std::int64_t calibration_tokens = 0;
  std::int64_t sequence_length = 0;
  DType precision = DType::f32;  ///< of the working weights
  std::int64_t samples = 1;      ///< drawn per token
  std::int64_t seed = 0;
  SensitivityForm form = SensitivityForm::full;

  /// All modules that there are, layer by layer, attention first.
  std::vector<ModuleId> modules() const;
  /// Numbers kept of each module: n (n + 1) / 2, n or 1, with n the hidden size.
  std::uint64_t values() const;
};

/// A complete file of sensitivities, opened to read on this rank alone. InputError wherever it is not as it
/// should be.
class SensitivityReader {
 public:
  explicit SensitivityReader(const std::filesystem::path& path);

  const SensitivityHeader& header() const { return header_; }
  /// Of all that it holds; a database made with it remembers it.
  const std::string& fingerprint() const { return fingerprint_; }
  /// G in nats per squared unit of the module's output, in the form kept: the lower triangle row by row, the
  /// diagonal, or its mean. Its checksum is compared.
  std::vector<float> values(const ModuleId& module) const;

 private:
  std::filesystem::path path_;
  Hdf5File file_;
  SensitivityHeader header_;
  std::string fingerprint_;
};

}  // namespace galapagos
