#pragma once

#include <vector>

#include <galapagos/export/exporter.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// The tensors of a model as its files hold them: by the names of its family, and those that it stores as one
/// are one again.
std::vector<ExportedTensor> as_stored(std::vector<ExportedTensor> tensors, const HfConfig& config);

}  // namespace galapagos
