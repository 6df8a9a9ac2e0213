#pragma once

#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// config.json of a model of the parent's family whose layers are all alike in heads, columns and experts.
/// UsageError, naming the first layer that is not, where they are not.
Json alike_config(const HfConfig& parent, const std::vector<LayerShape>& shapes);

}  // namespace galapagos
