#pragma once

#include <filesystem>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// What read_hf_config() gives of a model's folder, or where `path` is a file what that config.json says
/// alone; a warning where it leaves the layers' shapes to weights that are not there.
HfConfig read_shape(const std::filesystem::path& path);

}  // namespace galapagos
