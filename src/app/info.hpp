#pragma once

#include <filesystem>
#include <string>

#include <galapagos/core/json.hpp>

// What `info` says of each kind of file: as text for people, as JSON for programs.
namespace galapagos::app {

struct Description {
  std::string text;
  Json json;
};

Description describe_model(const std::filesystem::path& folder);
Description describe_tokens(const std::filesystem::path& path);
/// A folder of MDS shards, by its index.
Description describe_shards(const std::filesystem::path& folder);
/// With `verify`, InputError where a checksum does not fit.
Description describe_database(const std::filesystem::path& path, bool verify);

/// Whether an HDF5 file holds sensitivities.
bool is_sensitivity(const std::filesystem::path& path);
Description describe_sensitivity(const std::filesystem::path& path);
/// A table of what parts of a model take.
Description describe_latencies(const std::filesystem::path& path);

}  // namespace galapagos::app
