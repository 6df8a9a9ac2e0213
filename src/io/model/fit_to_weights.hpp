#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// Adapts what config.json says to the weights of its folder, as far as there are any, the way transformers 5
/// does; `config.source` likewise, so that what is exported means the same to all its releases. Adds to
/// `warnings` what is not as it says.
void fit_to_weights(HfConfig& config, const std::filesystem::path& folder,
                    std::vector<std::string>& warnings);

/// Adds to `warnings` where the layers' shapes stand in weights that are not there.
void warn_of_unseen_shapes(const HfConfig& config, const std::string& where,
                           std::vector<std::string>& warnings);

}  // namespace galapagos
