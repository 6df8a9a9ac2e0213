#pragma once

#include <filesystem>

#include <galapagos/core/own_files.hpp>

namespace galapagos {

/// What a model's folder that we write may hold.
OwnFiles model_files();

/// The same in `folder`, and what lies in it while it is written.
OwnFiles model_files(const std::string& folder);

/// InputError where the folder of a complete run has no model/ any more.
void check_result(const std::filesystem::path& run);

}  // namespace galapagos
