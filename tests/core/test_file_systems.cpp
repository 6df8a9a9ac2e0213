#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/odd_disk.hpp"

#include <cerrno>
#include <fcntl.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/file_remedy.hpp>
#include <galapagos/core/logging.hpp>

using namespace galapagos;
using test::fault;

namespace {

std::string message_of_write(const std::filesystem::path& path) {
  try {
    write_file_atomically(path, "text");
  } catch (const ResourceError& error) {
    return error.what();
  }
  return "";
}

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

TEST_CASE("a folder that cannot be synced is no error, one whose server is at fault is", "[file_systems]") {
  const test::TemporaryFolder folder;
  for (const int error : {EINVAL, ENOTSUP, ENOSYS, EACCES, EPERM}) {
    const test::OddDisk disk(folder.path(), fault("folder", error));
    CHECK(message_of_write(folder / "a").empty());
  }
  for (const int error : {EINVAL, ENOTSUP, ENOSYS}) {
    const test::OddDisk disk(folder.path(), fault("file", error));
    CHECK(message_of_write(folder / "a").empty());
  }
  CHECK(read_file(folder / "a") == "text");
  for (const char* call : {"folder", "file"}) {
    const test::OddDisk disk(folder.path(), fault(call, EIO));
    CHECK(message_of_write(folder / "a").find("dmesg") != std::string::npos);
  }
}

TEST_CASE("a file that cannot be mapped shared is mapped privately, or else read", "[file_systems]") {
  start_logging("off", 0);
  const test::TemporaryFolder folder;
  std::string text(3 * 4096 + 5, 'x');
  text[4097] = 'y';
  test::write_text(folder / "a", text);
  for (const char* call : {"shared", "map"}) {
    for (const int error : {ENODEV, EINVAL, EACCES, ENOTSUP, ENOSYS}) {
      const test::OddDisk disk(folder.path(), fault(call, error));
      MappedFile mapped(folder / "a");
      CHECK(text_of(mapped) == text);
      MappedFile moved = std::move(mapped);
      CHECK(text_of(moved) == text);
    }
  }
  const test::OddDisk disk(folder.path(), fault("map", ENOMEM));
  CHECK_THROWS_AS(MappedFile(folder / "a"), ResourceError);
}

TEST_CASE("what to do follows from what went wrong", "[file_systems]") {
  const std::pair<int, const char*> words[] = {{ENOSPC, "free space"},
                                               {EDQUOT, "quota"},
                                               {EROFS, "read-only"},
                                               {EACCES, "permissions"},
                                               {ESTALE, "mount"},
                                               {EIO, "dmesg"},
                                               {ENAMETOOLONG, "shorter"},
                                               {EMFILE, "ulimit -n"},
                                               {ENOENT, "path"},
                                               {ENOTDIR, "no folder"},
                                               {ENOLCK, "HDF5_USE_FILE_LOCKING"},
                                               {EFBIG, "ulimit -f"},
                                               {EINVAL, "choose another"}};
  const test::TemporaryFolder folder;
  for (const auto& [error, word] : words) {
    CAPTURE(error);
    CHECK(remedy_for(error).find(word) != std::string::npos);
    CHECK((remedy_for(error).find("free space") != std::string::npos) == (error == ENOSPC));
    if (error == ENOENT) continue;
    const test::OddDisk disk(folder.path(), fault("write", error));
    CHECK(message_of_write(folder / "a").find(word) != std::string::npos);
  }
  CHECK_THROWS_AS(read_file(folder / std::string(300, 'n')), InputError);
  CHECK(is_shortage(EMFILE));
  CHECK(!is_shortage(ENOENT));
}
