#include <galapagos/core/error.hpp>
#include <galapagos/export/export_format.hpp>

namespace galapagos {

ExportFormat export_format_of(const std::string& name) {
  if (name == "hf") return ExportFormat::hf;
  if (name == "dense") return ExportFormat::dense;
  throw UsageError("unknown format '" + printable(name) + "'", "--format", "choose hf or dense");
}

}  // namespace galapagos
