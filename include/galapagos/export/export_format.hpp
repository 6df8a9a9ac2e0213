#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/export/exporter.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// What is to be known of a format of exports.
struct ExportFormat {
  const char* name;  ///< as in --format
  const char* about;
  bool smaller;  ///< what is pruned is gone; otherwise the parent's shapes stay, with zeros in its place
  Json (*config)(const HfConfig& parent, const std::vector<LayerShape>& shapes);  ///< config.json
  std::unique_ptr<Exporter> (*exporter)();
};

/// All of them.
std::span<const ExportFormat> export_formats();

/// UsageError for a name that none has.
const ExportFormat& export_format_of(const std::string& name);

/// "hf or dense", or what each of them is besides.
std::string list_export_formats(bool with_about = false);

}  // namespace galapagos
