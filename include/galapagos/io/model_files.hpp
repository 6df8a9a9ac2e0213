#pragma once

#include <galapagos/core/own_files.hpp>

namespace galapagos {

/// What a model's folder that we write may hold.
OwnFiles model_files();

/// The same in `folder`, and what lies in it while it is written.
OwnFiles model_files(const std::string& folder);

}  // namespace galapagos
