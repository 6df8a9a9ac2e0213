#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/export/export_options.hpp>
#include <galapagos/export/exporter.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// What is to be known of a format of exports.
struct ExportFormat {
  const char* name;  ///< as in --format
  const char* about;
  bool smaller;   ///< what is pruned is gone; otherwise the parent's shapes stay, with zeros in its place
  bool family;    ///< tensors that the family stores as one are one
  bool mixtures;  ///< it has a place for mixtures of experts
  /// config.json of the model that the exporter is given.
  Json (*config)(const HfConfig& parent, const std::vector<LayerShape>& shapes);
  std::unique_ptr<Exporter> (*exporter)(const ExportOptions& options);
  /// The layers as the files hold them, zeros and copies included; null where they are the pruned model's,
  /// or, if that is not smaller, the parent's.
  std::vector<LayerShape> (*stored_shapes)(const HfConfig& pruned, const ExportOptions& options) = nullptr;
  /// Bytes of an element of a matrix that the checkpoint stores as `stored`.
  double (*bytes_of_element)(DType stored, const ExportOptions& options) = nullptr;
};

/// All of them.
std::span<const ExportFormat> export_formats();

/// UsageError for a name that none has.
const ExportFormat& export_format_of(const std::string& name);
/// Of several names; UsageError where one comes twice, or there is none.
std::vector<const ExportFormat*> export_formats_of(const std::vector<std::string>& names);

/// UsageError where a format has no place for mixtures of experts.
void check_mixture(const HfConfig& config, const ExportFormat& format);

/// "hf, dense, family, gguf or decilm", or what each of them is besides.
std::string list_export_formats(bool with_about = false);

}  // namespace galapagos
