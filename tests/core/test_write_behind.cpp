#include "support/catch.hpp"
#include "support/files.hpp"

#include <fcntl.h>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/core/write_behind.hpp>

using namespace galapagos;

namespace {

std::vector<std::byte> piece(std::size_t size, char value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

}  // namespace

TEST_CASE("pieces are written behind, in order, however little may wait", "[file]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "x";
  for (const std::size_t most : {0, 10, 1'000'000}) {
    std::string expected(5000, '\0');
    {
      WriteBehind writer(FileDescriptor(path, O_WRONLY | O_CREAT | O_TRUNC), most);
      std::mt19937 random(3);
      for (int i = 0; i < 300; ++i) {
        const std::size_t size = random() % 50, at = random() % 4900;
        const char value = static_cast<char>('a' + i % 26);
        writer.write(piece(size, value), at);
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(at), size, value);
        if (i % 50 == 0) writer.sync();
      }
      writer.write(piece(1, 'z'), 4999);
      expected[4999] = 'z';
      if (most == 10) writer.drain();  // else the destructor does it
    }
    CHECK(read_file(path) == expected);
  }
}

TEST_CASE("after a failure nothing more is written, and every call says so", "[file]") {
  if (!std::filesystem::exists("/dev/full")) return;
  WriteBehind writer(FileDescriptor("/dev/full", O_WRONLY), 100);
  const auto refuses = [](auto&& call) {
    try {
      call();
      return false;
    } catch (const ResourceError& error) {
      return std::string(error.what()).find("free space") != std::string::npos;
    }
  };
  writer.write(piece(10, 'a'), 0);
  CHECK(refuses([&] { writer.drain(); }));
  CHECK(refuses([&] { writer.write(piece(10, 'a'), 0); }));
  CHECK(refuses([&] { writer.sync(); }));
  CHECK(refuses([&] { writer.drain(); }));
}
