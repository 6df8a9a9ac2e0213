#pragma once

#include <filesystem>

#include <galapagos/search/search_checkpoint.hpp>

namespace galapagos {

/// Writes a checkpoint of a search, which is no whole file before this has returned.
void write_checkpoint(const std::filesystem::path& path, const SearchCheckpoint& checkpoint);

/// Reads one of this space. InputError where it is damaged or of another version.
SearchCheckpoint read_checkpoint(const std::filesystem::path& path, const SearchSpace& space);

}  // namespace galapagos
