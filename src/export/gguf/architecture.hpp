#pragma once

#include "../fit.hpp"
#include "architecture_kind.hpp"
#include "file.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos::gguf {

/// The one for a model: `deci` for all families without norms on heads; of those with such `openelm`, which
/// takes the output head from the embedding, and for untied models `qwen3`, whose layers are all alike. That
/// of mixtures is found in mixture.hpp. InputError where llama.cpp has none that computes the model.
const Architecture& architecture_of(const HfConfig& config);

/// The layers as the architecture can hold them, with columns in multiples of `columns`.
std::vector<LayerFit> fits_of(const Architecture& architecture, const HfConfig& config, std::int64_t columns);

/// Tokens up to which the file computes what the model does.
std::int64_t context_of(const HfConfig& config);

/// Sets what a file says of the architecture.
void describe_architecture(Metadata& metadata, const Architecture& architecture, const HfConfig& config,
                           std::span<const LayerFit> fits);

}  // namespace galapagos::gguf
