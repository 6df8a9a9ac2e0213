#include "support/files.hpp"

#include "support/skip.hpp"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <unistd.h>

namespace galapagos::test {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "galapagos-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path data_file(const std::string& name) {
  // A test program that was built elsewhere is told where its files are.
  if (const char* folder = std::getenv("GALAPAGOS_TEST_FILES")) return std::filesystem::path(folder) / name;
  return std::filesystem::path(__FILE__).parent_path().parent_path() / "data" / name;
}

std::optional<std::filesystem::path> shared_file(const std::string& name) {
  const char* folder = std::getenv("GALAPAGOS_TEST_DATA");
  if (folder == nullptr || *folder == '\0') {
    say_skipped("needs " + name + " under GALAPAGOS_TEST_DATA, which is not set");
    return std::nullopt;
  }
  return std::filesystem::path(folder) / name;
}

void write_text(const std::filesystem::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace galapagos::test
