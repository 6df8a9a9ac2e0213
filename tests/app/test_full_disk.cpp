#include "search/search_command.hpp"
#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/small_disk.hpp"
#include "support/small_run.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/pruning/database.hpp>

using namespace galapagos;

TEST_CASE("a disk that fills up while writing ends the run, and it goes on once there is room", "[disk]") {
  const test::TemporaryFolder folder;
  const test::SmallDisk disk(folder / "disk", "size=4m");
  if (!disk.mounted()) return;
  const std::filesystem::path output = folder / "disk" / "x.h5", reference = folder / "reference.h5";
  REQUIRE(test::run_galapagos(2, test::database_words(reference)).code == 0);
  // Modules not yet done have no blocks on the disk: with it filled up, writing them fails in the middle.
  create_database(part_path(output), DatabaseReader(reference).header());
  test::fill_but(folder / "disk" / "filler", 100000);
  for (const int ranks : {1, 3}) {
    const test::Ended full = test::run_galapagos(ranks, test::database_words(output, {"--resume"}), 60);
    INFO(full.errors);
    CHECK(full.code == 4);
    CHECK(test::count_lines(full.errors, "galapagos: error: ") == 1);
    CHECK(full.errors.find("free space") != std::string::npos);
    CHECK(!std::filesystem::exists(output));
  }
  std::filesystem::remove(folder / "disk" / "filler");
  CHECK(test::run_galapagos(3, test::database_words(output, {"--resume"})).code == 0);
  CHECK(test::compare(reference, output).same_bits);
}

TEST_CASE("a disk too small is refused before the work begins", "[disk]") {
  const test::TemporaryFolder folder;
  const test::SmallDisk disk(folder / "disk", "size=500k");
  if (!disk.mounted()) return;
  const test::Ended full = test::run_galapagos(3, test::database_words(folder / "disk" / "x.h5"), 60);
  CHECK(full.code == 4);
  CHECK(full.errors.find("the database needs") != std::string::npos);
  CHECK(std::filesystem::is_empty(folder / "disk"));
}

TEST_CASE("a disk with no room for a search's checkpoint ends it in order", "[disk]") {
  for (const char* size : {"size=24k", "size=32k"}) {
    const test::TemporaryFolder folder;
    const test::SmallDisk disk(folder / "disk", size);
    if (!disk.mounted()) return;
    const test::Ended full = test::run_galapagos(2, test::search_words(folder / "disk" / "run"), 60);
    INFO(full.errors);
    CHECK(full.code == 4);
    CHECK(test::count_lines(full.errors, "galapagos: error: ") == 1);
  }
}
