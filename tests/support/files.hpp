#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace galapagos::test {

/// A fresh folder under the system's temporary folder, removed with everything in it at the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// tests/data/<name> of the source tree, or <name> in $GALAPAGOS_TEST_FILES where that is set.
std::filesystem::path data_file(const std::string& name);

/// $GALAPAGOS_TEST_DATA/<name>, or nothing, said aloud, where the variable is not set.
std::optional<std::filesystem::path> shared_file(const std::string& name);

void write_text(const std::filesystem::path& path, const std::string& content);

}  // namespace galapagos::test
