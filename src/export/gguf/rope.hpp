#pragma once

#include "architecture_kind.hpp"

#include <string>
#include <utility>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos::gguf {

/// Whether the architecture turns heads as the settings have it.
bool knows_rope(const Architecture& architecture, const RopeSettings& rope);

/// What the frequencies of its rope are to be divided by ("rope_freqs.weight" and the like), by the names of
/// tensors; none where they are the usual.
std::vector<std::pair<std::string, std::vector<float>>> rope_factors(const Architecture& architecture,
                                                                     const HfConfig& config);

}  // namespace galapagos::gguf
