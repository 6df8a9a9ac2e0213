#include "support/catch.hpp"
#include "support/files.hpp"

#include <array>
#include <cstring>
#include <fcntl.h>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
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
      }
      writer.write(piece(1, 'z'), 4999);
      expected[4999] = 'z';
      if (most == 10) writer.drain();  // else the destructor does it
    }
    CHECK(read_file(path) == expected);
  }
}

TEST_CASE("a loan is written with its hash, and may change once it is over", "[file]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "x";
  constexpr std::size_t size = 3000, pieces = 20;
  {
    WriteBehind writer(FileDescriptor(path, O_WRONLY | O_CREAT | O_TRUNC), 10);
    std::array<std::vector<std::byte>, 2> lent = {piece(size, 0), piece(size, 0)};
    std::array<WriteBehind::Loan, 2> loans{};
    for (std::size_t i = 0; i < pieces; ++i) {
      writer.wait_for(loans[i % 2]);
      std::fill(lent[i % 2].begin(), lent[i % 2].end(), static_cast<std::byte>('a' + i));
      loans[i % 2] = writer.lend(lent[i % 2], i * size, pieces * size + i * sizeof(std::uint64_t));
    }
    writer.drain();
  }
  const std::string found = read_file(path);
  REQUIRE(found.size() == pieces * (size + sizeof(std::uint64_t)));
  for (std::size_t i = 0; i < pieces; ++i) {
    const std::string wanted(size, static_cast<char>('a' + i));
    CHECK(found.compare(i * size, size, wanted) == 0);
    std::uint64_t hash = 0;
    std::memcpy(&hash, found.data() + pieces * size + i * sizeof hash, sizeof hash);
    CHECK(hash == Hash64().add(wanted).value());
  }
}

TEST_CASE("marks are written after what they speak of, by the end", "[file]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "x";
  constexpr std::size_t marks = 300;
  for (const bool drained : {true, false}) {
    {
      WriteBehind writer(FileDescriptor(path, O_WRONLY | O_CREAT | O_TRUNC), 10);
      for (std::size_t i = 0; i < marks; ++i) {
        writer.write(piece(9, 'a'), marks + 9 * i);
        writer.mark(piece(1, 'm'), i);
      }
      if (drained) {
        writer.drain();
        CHECK(read_file(path) == std::string(marks, 'm') + std::string(9 * marks, 'a'));
        writer.mark(piece(1, 'n'), 0);  // one more comes after
      }
    }
    CHECK(read_file(path) ==
          (drained ? "n" : "m") + std::string(marks - 1, 'm') + std::string(9 * marks, 'a'));
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
  CHECK(refuses([&] { writer.mark(piece(1, 'a'), 0); }));
  const std::vector<std::byte> lent = piece(10, 'b');
  CHECK(refuses([&] { writer.lend(lent, 0, 10); }));
  CHECK(refuses([&] { writer.drain(); }));

  WriteBehind lender(FileDescriptor("/dev/full", O_WRONLY), 100);
  const WriteBehind::Loan loan = lender.lend(lent, 0, 10);
  CHECK(refuses([&] { lender.wait_for(loan); }));
}
