#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace galapagos::torch_format {

struct NewEntry {
  std::string name;
  std::span<const std::byte> data;
};

/// Writes a zip archive of stored entries through `path.part`, each entry's data at a multiple of 64 bytes,
/// where torch expects them when it maps a file. ResourceError where the disk is full.
void write_zip(const std::filesystem::path& path, std::span<const NewEntry> entries);

}  // namespace galapagos::torch_format
