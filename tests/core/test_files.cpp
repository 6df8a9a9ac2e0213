#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/odd_disk.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>

using namespace galapagos;

TEST_CASE("files are read, mapped and written whole", "[file]") {
  const test::TemporaryFolder folder;
  write_file_atomically(folder / "a", "hello");
  CHECK(read_file(folder / "a") == "hello");
  CHECK(!std::filesystem::exists(folder / "a.part"));
  const MappedFile mapped(folder / "a");
  CHECK(mapped.bytes().size() == 5);
  test::write_text(folder / "empty", "");
  CHECK(MappedFile(folder / "empty").bytes().empty());
  CHECK_THROWS_AS(read_file(folder / "none"), InputError);
  CHECK_THROWS_AS(read_file(folder.path()), InputError);
  CHECK_THROWS_AS(read_file(folder / "a", 4), InputError);
  CHECK_THROWS_AS(FileDescriptor(folder / "none" / "x", O_WRONLY | O_CREAT), ResourceError);
  CHECK(free_disk_bytes(folder / "x") > 0);
}

TEST_CASE("a full disk is a ResourceError and leaves no file of that name", "[file]") {
  const test::TemporaryFolder folder;
  // A limit on file sizes fails a write as a full disk does.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  CHECK_THROWS_AS(write_file_atomically(folder / "big", std::string(5000, 'x')), ResourceError);
  setrlimit(RLIMIT_FSIZE, &before);
  CHECK(!std::filesystem::exists(folder / "big"));
}

TEST_CASE("the checksum is XXH64", "[hash]") {
  // Published test vectors of the algorithm: the empty input and "abc", seed 0.
  CHECK(Hash64().value() == 0xef46db3751d8e999u);
  CHECK(Hash64().add(std::string("abc")).value() == 0x44bc2cf5ad770999u);
  CHECK(Hash64().add(std::string("a")).add(std::string("bc")).value() == 0x44bc2cf5ad770999u);
  CHECK(hex64(255) == "00000000000000ff");
}

TEST_CASE("a folder gets its final name with all that is in it, once that is on the disk", "[file]") {
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "a.part" / "within");
  test::write_text(folder / "a.part" / "x", "one");
  test::write_text(folder / "a.part" / "within" / "y", "two");
  {
    const test::OddDisk disk(folder.path(), test::fault("file", EIO));
    CHECK_THROWS_AS(publish_folder(folder / "a.part", folder / "a"), ResourceError);
    CHECK(!std::filesystem::exists(folder / "a"));
  }
  publish_folder(folder / "a.part", folder / "a");
  CHECK(!std::filesystem::exists(folder / "a.part"));
  CHECK(read_file(folder / "a" / "x") == "one");
  CHECK(read_file(folder / "a" / "within" / "y") == "two");
}
