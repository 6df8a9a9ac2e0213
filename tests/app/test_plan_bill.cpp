#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

using namespace galapagos;

namespace {

/// Llama-2-7B's config.json and the file of a machine.
struct Case {
  test::TemporaryFolder folder;

  explicit Case(const std::string& machine) {
    std::filesystem::copy(test::data_file("shapes/llama-2-7b.json"), folder / "config.json");
    test::write_text(folder / "machine.ini", machine);
  }

  test::Ended plan(std::vector<std::string> words) const {
    words.insert(words.begin(), {test::program(), "plan"});
    words.insert(words.end(),
                 {"--model", folder.path().string(), "--machine", (folder / "machine.ini").string()});
    return test::run_program(words);
  }

  Json planned(std::vector<std::string> words) const {
    words.push_back("--json");
    const test::Ended ended = plan(words);
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    return parse_json(ended.output, "plan");
  }
};

constexpr const char* machine =
    "ranks-per-node = 4\ngpu-memory = 80G\nmemory-per-node = 512G\npeak-tflops = 300\nmemory-bandwidth = "
    "2000\n"
    "network = 50\nefficiency = 0.4\n";

}  // namespace

TEST_CASE("a plan for the file of a machine says node-hours and GPU-hours of each command and of all",
          "[plan]") {
  const Case of(machine);
  const Json plan = of.planned({"--nodes", "4", "--target-sparsity", "0.5"});
  CHECK(plan["machine"]["ranks"] == 16);
  CHECK(plan["machine"]["nodes"] == 4);
  CHECK(plan["machine"]["efficiency"] == 0.4);
  double node_hours = 0;
  int billed = 0;
  for (const char* phase : {"sensitivity", "database", "search", "stitch", "eval"}) {
    CAPTURE(phase);
    REQUIRE(plan[phase].contains("bill"));
    const double seconds = plan[phase]["seconds"]["total"];
    CHECK(plan[phase]["bill"]["node_hours"].get<double>() == Approx(4 * seconds / 3600));
    CHECK(plan[phase]["bill"]["gpu_hours"].get<double>() == Approx(16 * seconds / 3600));
    node_hours += plan[phase]["bill"]["node_hours"].get<double>();
    ++billed;
  }
  CHECK(billed == 5);
  CHECK(plan["bill"]["node_hours"].get<double>() == Approx(node_hours));
  CHECK(plan["bill"]["gpu_hours"].get<double>() == Approx(4 * node_hours));
  const test::Ended text = of.plan({"--nodes", "4"});
  CHECK(text.output.find("bill of all") != std::string::npos);
}

TEST_CASE("what is given besides the file of a machine goes before it", "[plan]") {
  const Case of(machine);
  const Json plan = of.planned({"database", "--ranks", "6", "--nodes", "2", "--efficiency=0.5"});
  CHECK(plan["machine"]["ranks"] == 6);
  CHECK(plan["machine"]["efficiency"] == 0.5);
  CHECK(of.planned({"database"})["machine"]["ranks"] == 4);  // a node
}

TEST_CASE("a plan without rates has no bill", "[plan]") {
  const Case of("ranks-per-node = 4\nmemory-per-node = 512G\n");
  CHECK(!of.planned({"database"}).contains("bill"));
}

TEST_CASE("a file of a machine that says something else is refused", "[plan]") {
  CHECK(Case("ranks = 4\n").plan({"database"}).code == 2);
  CHECK(Case("peak-tflop = 4\n").plan({"database", "--ranks", "2"}).code == 2);
  CHECK(Case("ranks-per-node = 0\n").plan({"database", "--ranks", "2"}).code == 2);
  const Case of(machine);
  std::filesystem::remove(of.folder / "machine.ini");
  const test::Ended missing = of.plan({"database", "--ranks", "2"});
  CHECK(missing.code == 3);
  CHECK(missing.errors.find("machine.ini") != std::string::npos);
}

TEST_CASE("the files of machines that come along can be planned with", "[plan]") {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GALAPAGOS_SOURCE_DIR "/config/machines")) {
    CAPTURE(entry.path());
    Case of("");
    std::filesystem::copy_file(entry.path(), of.folder / "machine.ini",
                               std::filesystem::copy_options::overwrite_existing);
    const Json plan = of.planned({"--nodes", "2"});
    CHECK(plan["bill"]["node_hours"].get<double>() > 0);
    ++files;
  }
  CHECK(files >= 5);
}
