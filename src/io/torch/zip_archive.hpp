#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace galapagos::torch_format {

/// An entry that is stored as it is.
struct ZipEntry {
  std::span<const std::byte> data;
  std::uint32_t crc = 0;
};

/// The directory of a zip archive of stored entries, as torch.save writes them, which lies in memory; data
/// are only looked at by read(). InputError, naming `where`, for what is damaged, compressed, encrypted, in
/// several parts, or twice there.
class ZipArchive {
 public:
  ZipArchive(std::span<const std::byte> bytes, std::string where);

  const std::map<std::string, ZipEntry>& entries() const { return entries_; }
  bool has(const std::string& name) const { return entries_.contains(name); }
  /// An entry's data, compared with their checksum; InputError where there is none of that name.
  std::span<const std::byte> read(const std::string& name) const;

 private:
  struct Directory {
    std::uint64_t entries = 0, begin = 0, bytes = 0;
  };
  Directory find_directory() const;
  std::size_t find_end() const;
  Directory wide_directory(std::uint64_t end) const;
  std::size_t take_entry(std::size_t at, const Directory& directory);
  std::span<const std::byte> stored_data(std::uint64_t local, const std::string& name, std::uint64_t size,
                                         const Directory& directory);

  std::span<const std::byte> bytes_;
  std::string where_;
  std::map<std::string, ZipEntry> entries_;
  std::uint64_t taken_ = 0;  // bytes of all entries
};

}  // namespace galapagos::torch_format
