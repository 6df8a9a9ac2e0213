#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <galapagos/core/file.hpp>

namespace galapagos {

/// One tensor of a safetensors file: its type as spelled there ("BF16", "F32", ...), its shape (empty for a
/// scalar) and its row-major little-endian bytes, which may lie at any alignment.
struct TensorEntry {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
};

/// Text to text, as under "__metadata__" in the header.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// A safetensors file mapped into memory. The constructor checks the whole header (not the values), so that
/// every entry's data lies inside the file and fits its type and shape; InputError where anything is wrong.
/// The entries' data live as long as this object or the one it was moved to.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// Sorted by name; names are unique.
  std::span<const TensorEntry> entries() const { return entries_; }
  /// The entry of that name, or nullptr.
  const TensorEntry* find(std::string_view name) const;
  const SafetensorsMetadata& metadata() const { return metadata_; }

 private:
  std::filesystem::path path_;
  MappedFile file_;
  std::vector<TensorEntry> entries_;
  SafetensorsMetadata metadata_;
};

/// A tensor of a file to come: as TensorEntry, with how many its bytes are in their place.
struct TensorRecord {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = 0;
};

/// What a safetensors file begins with, and where in the file the bytes of each of its tensors begin.
struct SafetensorsLayout {
  std::string head;
  std::vector<std::uint64_t> places;
};

/// The layout in the order and padding of the reference writer, of a file that errors call `path`.
/// FailureError for tensors that make no valid file (twice the same name, an unknown type, another number of
/// bytes than type and shape say).
SafetensorsLayout lay_out_safetensors(const std::filesystem::path& path,
                                      std::span<const TensorRecord> tensors,
                                      const SafetensorsMetadata& metadata = {{"format", "pt"}});

/// Writes a safetensors file in the order and padding of the reference writer, through `path.part`.
/// FailureError as lay_out_safetensors(), ResourceError where the disk is full.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                       const SafetensorsMetadata& metadata = {{"format", "pt"}});

}  // namespace galapagos
