#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

// What `plan stitch` says of files against those that `stitch` writes.

using namespace galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const std::string tiny = test::data_file("models/tiny").string();
const std::vector<std::string> formats = {"hf", "dense", "gguf"};

Words joined(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void run(const Words& words) {
  const test::Ended ended = test::run_galapagos(1, words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
}

Json planned(const Words& words) {
  const test::Ended ended =
      test::run_program(joined({test::program(), "plan", "stitch", "--ranks", "1", "--json"}, words));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return parse_json(ended.output, "plan");
}

/// A database of the tiny model and an uneven assignment, which leaves out an attention and a feed-forward
/// part.
struct Pruned {
  Pruned() {
    run({"database", "--model", tiny, "--calibration",
         test::data_file("text/tiny_calibration.jsonl").string(), "--calibration-tokens", "2048",
         "--sequence-length", "256", "--levels", "4", "--threads", "1", "--output", database});
    const Json info =
        parse_json(test::run_program({test::program(), "info", database, "--json"}).output, "info");
    std::string text;
    int level = 4;
    for (const Json& module : info.at("modules")) {
      text += module.at("module").get<std::string>() + ": " + std::to_string(level) + "\n";
      level = (level + 3) % 5;
    }
    test::write_text(assignment, text);
  }
  Words of_database() const { return {"--model", tiny, "--database", database, "--assignment", assignment}; }

  test::TemporaryFolder folder;
  const std::string database = (folder / "x.h5").string(), assignment = (folder / "a.txt").string();
};

std::uint64_t weight_bytes(const fs::path& folder) {
  std::uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string type = entry.path().extension().string();
    if (type == ".safetensors" || type == ".gguf") bytes += entry.file_size();
  }
  return bytes;
}

/// Plans and writes all formats, and compares what lies there.
Json compared(const Words& words, const fs::path& output) {
  const Words of_formats = joined(words, joined({"--format"}, formats));
  Json plan = planned(of_formats);
  run(joined({"stitch", "--output", output.string()}, of_formats));
  for (const std::string& format : formats) {
    CAPTURE(format);
    const auto bytes = plan.at("stitch").at("formats").at(format).at("file_bytes").get<double>();
    CHECK(static_cast<double>(weight_bytes(output / format)) == Approx(bytes).epsilon(0.03));
  }
  return plan;
}

std::int64_t parameters(const Json& plan, const std::string& format) {
  return plan.at("stitch").at("formats").at(format).at("parameters").get<std::int64_t>();
}

}  // namespace

TEST_CASE("a plan of a stitch foretells the files that it writes", "[plan]") {
  const Pruned pruned;
  const Json given = compared(pruned.of_database(), pruned.folder / "given");
  CHECK(given.at("assumed").empty());
  CHECK(given.at("stitch").at("writes") == "the assignment of " + pruned.assignment);
  const auto whole = given.at("model").at("parameters").get<std::int64_t>();
  CHECK(parameters(given, "dense") == whole);
  CHECK(parameters(given, "hf") < whole);

  // The pruned model again, in other formats.
  const Words again = {"--model", (pruned.folder / "given/hf").string()};
  const Json as_it_is = compared(again, pruned.folder / "again");
  CHECK(as_it_is.at("assumed").empty());
  CHECK(as_it_is.at("stitch").at("writes") == "the model as it is");
  for (const std::string& format : formats) CHECK(parameters(as_it_is, format) == parameters(given, format));

  // Pruned once more where that is asked for.
  const Json more = planned(joined(again, {"--target-sparsity", "0.3"}));
  CHECK(more.at("stitch").at("writes") == "a uniform assignment");
  CHECK(more.at("stitch").at("parameters").get<std::int64_t>() < parameters(as_it_is, "hf"));
}

TEST_CASE("what a plan of a stitch does without an assignment or a database", "[plan]") {
  const test::TemporaryFolder folder;
  const std::string absent = (folder / "absent.h5").string();
  const Words model = {"--model", tiny + "/config.json"};
  const Json plain = planned(model);
  CHECK(plain.at("stitch").at("writes") == "a uniform assignment");
  CHECK(plain.at("assumed").size() == 1);
  const Json later = planned(joined(model, {"--database", absent, "--assignment", "absent.txt"}));
  CHECK(later.at("stitch") == plain.at("stitch"));
  CHECK(later.at("assumed").size() == 3);
  CHECK(later.at("assumed").dump().find(absent) != std::string::npos);
  const test::Ended alone = test::run_program(
      joined({test::program(), "plan", "stitch", "--ranks", "1", "--assignment", "a.txt"}, model));
  CHECK(alone.code == 2);
  CHECK(test::count_lines(alone.errors, "--assignment") == 1);
}
