#include "support/small_disk.hpp"

#include "support/skip.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <sys/mount.h>

#include <galapagos/core/file.hpp>

namespace galapagos::test {

SmallDisk::SmallDisk(const std::filesystem::path& folder, const char* size) : folder_(folder) {
  std::filesystem::create_directory(folder);
  mounted_ = ::mount("tmpfs", folder.c_str(), "tmpfs", 0, size) == 0;
  if (!mounted_) say_skipped(std::string("cannot mount a small file system here: ") + std::strerror(errno));
}

SmallDisk::~SmallDisk() {
  if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
}

void fill_but(const std::filesystem::path& path, std::uint64_t left) {
  const std::uint64_t free = free_disk_bytes(path);
  std::ofstream file(path, std::ios::binary);
  const std::string block(4096, 'x');
  for (std::uint64_t written = 0; written + left < free; written += block.size()) file << block;
}

}  // namespace galapagos::test
