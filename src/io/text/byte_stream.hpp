#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace galapagos {

/// The bytes of a file, decompressed on the way.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  /// Fills `bytes` from the front; the number of bytes read, less than asked only at the end. InputError
  /// where the file is cut short or damaged.
  virtual std::size_t read(std::span<char> bytes) = 0;

  /// Whether the file was compressed.
  virtual bool decompresses() const { return false; }

  /// Gzip and zstd are known by their first bytes, whatever the name; anything else comes as it is.
  /// InputError where the file cannot be opened.
  static std::unique_ptr<ByteStream> open(const std::filesystem::path& path);
};

}  // namespace galapagos
