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

  /// By the last suffix of the name: `.gz`, `.zst`, or plain.
  static std::unique_ptr<ByteStream> open(const std::filesystem::path& path);
};

}  // namespace galapagos
