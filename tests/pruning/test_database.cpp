#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/flip_byte.hpp"
#include "support/small_run.hpp"

#include <fcntl.h>
#include <fstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/database.hpp>

using namespace galapagos;

TEST_CASE("one lane gives one file, bit for bit, on any number of ranks", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* model :
       {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "llama2_tiny", "gemma3_tiny", "qwen3_moe_tiny"}) {
    DatabaseOptions together = test::small_database(model, folder / (std::string(model) + "_all.h5"));
    DatabaseOptions alone = test::small_database(model, folder / (std::string(model) + "_one.h5"));
    together.lanes = 1;
    CHECK(test::code_of_build(world, together) == 0);
    const Communicator only_root = world.split(world.is_root() ? 0 : 1, world.rank());
    if (world.is_root()) build_database(only_root, ops::Context(), alone);
    world.barrier();
    if (world.is_root()) {
      const test::Difference difference = test::compare(alone.output, together.output);
      CHECK(difference.same_bits);
      const DatabaseReader reader(together.output);
      CHECK(reader.complete());
      for (const ModuleId& module : reader.header().modules()) CHECK_NOTHROW(reader.verify(module));
    }
    CHECK(!std::filesystem::exists(part_path(together.output)));
    world.barrier();
  }
}

TEST_CASE("lanes, passes and attention units change nothing but rounding", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const AttentionUnit unit : {AttentionUnit::head, AttentionUnit::group, AttentionUnit::per_group}) {
    DatabaseOptions plain = test::small_database("llama3_tiny", folder / ("plain_" + name_of(unit) + ".h5"));
    plain.attention_unit = unit;
    plain.lanes = 1;
    CHECK(test::code_of_build(world, plain) == 0);
    for (int lanes = 2; lanes <= world.size(); ++lanes) {
      DatabaseOptions other = plain;
      other.output = folder / ("lanes_" + name_of(unit) + std::to_string(lanes) + ".h5");
      other.lanes = lanes;
      CHECK(test::code_of_build(world, other) == 0);
      if (world.is_root()) {
        const test::Difference difference = test::compare(plain.output, other.output);
        CHECK(difference.same_order);
        CHECK(difference.largest_loss < 1e-3);
        CHECK(difference.largest_weight < 1e-2);  // a rounding to bf16 may go the other way
      }
      world.barrier();
    }
    DatabaseOptions passes = plain;
    passes.output = folder / ("passes_" + name_of(unit) + ".h5");
    passes.memory_limit = 2700000;  // a few modules at a time
    CHECK(test::code_of_build(world, passes) == 0);
    if (world.is_root()) CHECK(test::compare(plain.output, passes.output).same_bits);
    world.barrier();
  }
}

TEST_CASE("what an earlier run left behind is taken up, or refused where it does not fit", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DatabaseOptions options = test::small_database("llama3_tiny", folder / "x.h5");
  const DatabaseOptions reference = test::small_database("llama3_tiny", folder / "reference.h5");
  CHECK(test::code_of_build(world, options) == 0);
  CHECK(test::code_of_build(world, reference) == 0);
  options.resume = Resume::no;
  CHECK(test::code_of_build(world, options) == 3);  // it exists
  options.resume = Resume::yes;
  CHECK(test::code_of_build(world, options) == 0);  // nothing to do

  // As a run leaves it that was killed after its first modules.
  if (world.is_root()) {
    std::filesystem::rename(options.output, part_path(options.output));
    Hdf5File file = Hdf5File::open_to_change(part_path(options.output));
    for (const char* module : {"/modules/1/ffn", "/modules/2/attn", "/modules/3/ffn"}) {
      file.write_values<std::uint8_t>(std::string(module) + "/state", Hdf5Type::u8, {0});
      const Hdf5DatasetInfo info = file.describe(std::string(module) + "/level_1/weight");
      file.write(std::string(module) + "/level_1/weight", info.type,
                 std::vector<std::byte>(info.elements * size_of(info.type)));
    }
    file.write_attribute("/", "complete", std::int64_t{0});
    file.close();
  }
  world.barrier();
  options.resume = Resume::no;
  CHECK(test::code_of_build(world, options) == 3);  // an unfinished one is there
  options.resume = Resume::yes;
  for (int change = 0; change < 6; ++change) {
    DatabaseOptions other = options;
    if (change == 0) other.model = test::data_file("models/qwen2_tiny");
    if (change == 1) other.calibration_tokens = 2000;
    if (change == 2) other.levels = 3;
    if (change == 3) other.relative_damping = 0.1;
    if (change == 4) other.attention_unit = AttentionUnit::group;
    if (change == 5) other.ffn_removed = "0 64 176";
    CHECK(test::code_of_build(world, other) == 3);
  }
  CHECK(test::code_of_build(world, options) == 0);
  if (world.is_root()) CHECK(test::compare(reference.output, options.output).same_bits);
  world.barrier();

  // A damaged module of a finished file: found by its checksum, done again only when asked for.
  if (world.is_root()) test::flip_byte(options.output, "/modules/2/ffn/level_2/weight", 5);
  world.barrier();
  CHECK(test::code_of_build(world, options) == 3);
  if (world.is_root()) CHECK(std::filesystem::exists(options.output));
  options.repair = true;
  CHECK(test::code_of_build(world, options) == 0);
  if (world.is_root()) CHECK(test::compare(reference.output, options.output).same_bits);
  world.barrier();
}

TEST_CASE("a build whose time is up on one rank stops on all, and is taken up", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions reference = test::small_database("llama3_tiny", folder / "a.h5");
  CHECK(test::code_of_build(world, reference) == 0);
  DatabaseOptions stopped = test::small_database("llama3_tiny", folder / "b.h5");
  if (world.rank() == world.size() - 1) stopped.max_seconds = 1e-9;
  CHECK(test::code_of_build(world, stopped) == 75);
  CHECK(!std::filesystem::exists(stopped.output));
  CHECK(std::filesystem::exists(part_path(stopped.output)));
  world.barrier();
  stopped.max_seconds = 0;
  stopped.resume = Resume::yes;
  CHECK(test::code_of_build(world, stopped) == 0);
  if (world.is_root()) CHECK(test::compare(reference.output, stopped.output).same_bits);
  world.barrier();
}

TEST_CASE("damaged files are refused, never misread", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  DatabaseOptions options = test::small_database("llama2_tiny", folder / "x.h5");
  options.calibration_tokens = 500;
  CHECK(test::code_of_build(world, options) == 0);
  if (world.is_root()) {
    const std::string whole = read_file(options.output);
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{7}, std::size_t{700}, whole.size() / 2, whole.size() - 1}) {
      test::write_text(folder / "cut.h5", whole.substr(0, size));
      CHECK_THROWS_AS(DatabaseReader(folder / "cut.h5"), InputError);
    }
    test::write_text(folder / "text.h5", "this is no HDF5 file at all, only some text");
    CHECK_THROWS_AS(DatabaseReader(folder / "text.h5"), InputError);
    CHECK_THROWS_AS(DatabaseReader(folder / "none.h5"), InputError);
  }
  world.barrier();
  options.resume = Resume::yes;
  if (world.is_root()) test::write_text(part_path(folder / "y.h5"), "no HDF5 file");
  world.barrier();
  options.output = folder / "y.h5";
  CHECK(test::code_of_build(world, options) == 3);
  if (world.is_root()) CHECK(read_file(part_path(folder / "y.h5")) == "no HDF5 file");
  world.barrier();
}

TEST_CASE("what cannot be done is refused before anything is written", "[database]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const DatabaseOptions good = test::small_database("llama3_tiny", folder / "x.h5");
  const auto code = [&](auto change) {
    DatabaseOptions options = good;
    change(options);
    return test::code_of_build(world, options);
  };
  CHECK(code([&](DatabaseOptions& o) { o.model = folder / "none"; }) == 3);
  CHECK(code([&](DatabaseOptions& o) { o.calibration = {folder / "none.jsonl"}; }) == 3);
  CHECK(code([](DatabaseOptions& o) { o.calibration_tokens = 100000000; }) == 3);
  CHECK(code([](DatabaseOptions& o) { o.attention_removed = "0 64 32"; }) == 2);
  CHECK(code([](DatabaseOptions& o) { o.ffn_removed = "0 1000"; }) == 2);
  CHECK(code([](DatabaseOptions& o) { o.levels = 0; }) == 2);
  CHECK(code([](DatabaseOptions& o) { o.sequence_length = 1 << 20; }) == 2);
  CHECK(code([](DatabaseOptions& o) { o.memory_limit = 1000; }) == 4);
  CHECK(code([&](DatabaseOptions& o) { o.lanes = world.size() + 1; }) == 2);
  CHECK(code([](DatabaseOptions& o) {
          o.repair = true;
          o.resume = Resume::no;
        }) == 2);
  CHECK(code([&](DatabaseOptions& o) { o.output = folder / "none" / "x.h5"; }) == 4);
  if (world.is_root()) {
    test::write_text(folder / "empty.jsonl", "\n\n");
    CHECK(!std::filesystem::exists(good.output));
    CHECK(!std::filesystem::exists(part_path(good.output)));
  }
  world.barrier();
  CHECK(code([&](DatabaseOptions& o) { o.calibration = {folder / "empty.jsonl"}; }) == 3);
  CHECK(code([](DatabaseOptions& o) { o.dry_run = true; }) == 0);
  CHECK(!std::filesystem::exists(part_path(good.output)));
}
