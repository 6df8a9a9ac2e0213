#pragma once

#include <cstdint>
#include <string>

namespace galapagos {

/// dense: the parent's shapes and config.json, zeros where columns are gone; loads wherever the parent does.
/// hf: really smaller, with its own configuration and modelling files, for transformers with
/// trust_remote_code.
enum class ExportFormat : std::uint8_t { hf, dense };

/// UsageError for anything but hf, dense.
ExportFormat export_format_of(const std::string& name);

}  // namespace galapagos
