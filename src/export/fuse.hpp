#pragma once

#include <vector>

#include <galapagos/export/exporter.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// The tensors of a model as its files hold them: those that its family stores as one are one again.
std::vector<ExportedTensor> fused(std::vector<ExportedTensor> tensors, const HfConfig& config);

}  // namespace galapagos
