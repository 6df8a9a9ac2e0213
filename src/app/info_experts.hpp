#pragma once

#include <string>

#include <galapagos/core/json.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos::app {

/// How the calibration tokens went to the experts of every mixture: a picture with a sign per expert, and
/// what speaks for which; nothing where no expert is done.
std::string picture_of_experts(const DatabaseReader& database);

/// Of an expert that is done: its tokens, the sum of the router's weights, its REAP score.
Json use_of_expert(const DatabaseReader& database, const ModuleId& module);

}  // namespace galapagos::app
