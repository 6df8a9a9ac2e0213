#pragma once

#include <string>
#include <utility>
#include <vector>

namespace galapagos::app {

/// The page galapagos(1), with the names and summaries of the commands.
std::string program_manual(const std::vector<std::pair<std::string, std::string>>& commands);

}  // namespace galapagos::app
