#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace galapagos::test {

/// Where the bytes of a dataset begin in an HDF5 file.
std::int64_t place_in_file(const std::filesystem::path& file, const std::string& dataset);

/// Damages the byte at `place` of a dataset.
void flip_byte(const std::filesystem::path& file, const std::string& dataset, std::int64_t place);

}  // namespace galapagos::test
