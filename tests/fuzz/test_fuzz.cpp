#include "support/catch.hpp"
#include "target.hpp"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>

using namespace galapagos;

namespace {

namespace fs = std::filesystem;

/// Where seeds and regressions lie.
fs::path files() {
  const char* other = std::getenv("GALAPAGOS_FUZZ_FILES");
  return other != nullptr ? other : GALAPAGOS_FUZZ_FILES;
}

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Feeds a target the files of its folder; how many there are.
int feed_files(const fuzz::Target& target, const fs::path& folder) {
  if (!fs::is_directory(folder)) return 0;
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    INFO(entry.path());
    const auto begin = std::chrono::steady_clock::now();
    CHECK_NOTHROW(fuzz::feed(target, content_of(entry.path())));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));  // a hang, not a slow machine
    ++files;
  }
  return files;
}

}  // namespace

TEST_CASE("seeds of the fuzzers are taken or refused") {
  for (const fuzz::Target* target : fuzz::Target::all())
    CHECK(feed_files(*target, files() / "seeds" / target->name) > 0);
}

TEST_CASE("what fuzzers have found stays mended") {
  for (const fuzz::Target* target : fuzz::Target::all())
    feed_files(*target, files() / "regressions" / target->name);
}
