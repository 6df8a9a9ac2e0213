#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace galapagos::test {

/// Lets calls on files below a folder fail until the end of the scope: `faults` as "folder=22 lock=37", names
/// of tests/support/odd_disk.cpp, which has to be linked or preloaded, with errnos.
class OddDisk {
 public:
  OddDisk(const std::filesystem::path& folder, const std::string& faults) {
    ::setenv("ODD_DISK_UNDER", folder.c_str(), 1);
    ::setenv("ODD_DISK", faults.c_str(), 1);
  }
  ~OddDisk() {
    ::unsetenv("ODD_DISK");
    ::unsetenv("ODD_DISK_UNDER");
  }
  OddDisk(const OddDisk&) = delete;
  OddDisk& operator=(const OddDisk&) = delete;
};

/// "name=errno".
inline std::string fault(const char* call, int error) {
  return std::string(call) + "=" + std::to_string(error);
}

}  // namespace galapagos::test
