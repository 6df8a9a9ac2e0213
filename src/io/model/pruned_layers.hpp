#pragma once

#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// The layers of a pruned model's config.json, where `config` has the unpruned model's sizes. InputError
/// (naming `where`) unless they describe config.layers layers.
std::vector<LayerShape> read_pruned_layers(const Json& json, const HfConfig& config,
                                           const std::string& where);

}  // namespace galapagos
