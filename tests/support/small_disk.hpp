#pragma once

#include <cstdint>
#include <filesystem>

namespace galapagos::test {

/// A file system of a few MiB in memory.
class SmallDisk {
 public:
  /// `size` as in "size=4m".
  SmallDisk(const std::filesystem::path& folder, const char* size);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  /// False, said aloud, where file systems cannot be mounted.
  bool mounted() const { return mounted_; }

 private:
  std::filesystem::path folder_;
  bool mounted_ = false;
};

/// Writes a file that leaves `left` bytes free on its file system.
void fill_but(const std::filesystem::path& path, std::uint64_t left);

}  // namespace galapagos::test
