// A mixture of experts the whole way by the commands: experts free, with the levels of their layer, or all
// alike.
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include <galapagos/core/file.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/pruning/database.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

fs::path model() {
  return test::data_file("models/qwen3_moe_tiny");
}

Words with_text(Words words) {
  for (const char* word : {"--calibration", "", "--calibration-tokens", "2000", "--sequence-length", "64"})
    words.push_back(*word != '\0' ? word : test::data_file("text/sample.jsonl").string());
  return words;
}

/// A command on the model, ended well.
void run(int ranks, const std::string& command, const Words& more) {
  Words words = {command, "--model", model().string(), "--threads", "1"};
  if (command == "assign") words.resize(3);
  words.insert(words.end(), more.begin(), more.end());
  const test::Ended ended = run_galapagos(ranks, words);
  INFO(command << ": " << ended.errors);
  REQUIRE(ended.code == 0);
}

/// Of each layer the levels that its experts have in a file.
std::map<std::string, std::set<std::string>> levels_of_experts(const fs::path& file) {
  std::map<std::string, std::set<std::string>> levels;
  std::istringstream text(read_file(file));
  for (std::string line; std::getline(text, line);) {
    const std::size_t at = line.find(".mlp.experts."), level = line.find(": ");
    if (at != std::string::npos) levels[line.substr(0, at)].insert(line.substr(level + 2));
  }
  return levels;
}

}  // namespace

TEST_CASE("a mixture weighed, assigned, searched and stitched, with experts tied or free", "[app]") {
  const test::TemporaryFolder folder;
  const auto path = [&](const std::string& name) { return (folder / name).string(); };
  run(2, "sensitivity", with_text({"--output", path("s.h5")}));
  // One lane gives one file, whatever the ranks, also where sensitivities weigh.
  for (const int ranks : {1, 3}) {
    run(ranks, "database",
        with_text({"--sensitivity", path("s.h5"), "--levels", "4", "--lanes", "1", "--output",
                   path("x" + std::to_string(ranks) + ".h5")}));
  }
  CHECK(test::compare(folder / "x1.h5", folder / "x3.h5").same_bits);
  const DatabaseReader database(folder / "x1.h5");
  for (const ModuleId& module : database.header().modules())
    CHECK(database.end_loss(module).size() == database.header().removed(module).size());

  const Words target = {"--database", path("x1.h5"), "--target-sparsity", "0.4"};
  const auto assigned = [&](const std::string& tie) {
    Words words = target;
    for (const std::string& word :
         {std::string("--experts"), tie, std::string("--output"), path(tie + ".txt")})
      words.push_back(word);
    run(1, "assign", words);
    return levels_of_experts(folder / (tie + ".txt"));
  };
  std::set<std::string> of_model;
  for (const auto& [layer, levels] : assigned("equal")) CHECK(levels.size() == 1);
  for (const auto& [layer, levels] : assigned("uniform")) of_model.insert(levels.begin(), levels.end());
  CHECK(of_model.size() == 1);
  std::size_t most = 0;
  for (const auto& [layer, levels] : assigned("free")) most = std::max(most, levels.size());
  CHECK(most > 1);

  const Words search = with_text({"--database", path("x1.h5"), "--target-sparsity", "0.4", "--experts",
                                  "equal", "--islands", "2", "--generations", "3", "--offspring", "4",
                                  "--survivors", "2 1", "--tokens", "256 512", "--compare-tokens", "512"});
  for (const int ranks : {1, 2}) {
    Words words = search;
    words.insert(words.end(), {"--output", path("run" + std::to_string(ranks))});
    run(ranks, "search", words);
  }
  CHECK(read_file(folder / "run1/best.txt") == read_file(folder / "run2/best.txt"));
  const auto found = levels_of_experts(folder / "run1/best.txt");
  CHECK(found.size() == 3);
  for (const auto& [layer, levels] : found) CHECK(levels.size() == 1);
  // As shards see it, and as the races do.
  for (const Words& more : {Words{"--shards", "2", "--strategy", "evolution"},
                            Words{"--strategy", "racing", "--block-tokens", "256"}}) {
    Words words = search;
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--output", path("with" + more[1])});
    run(2, "search", words);
    for (const auto& [layer, levels] : levels_of_experts(folder / ("with" + more[1]) / "best.txt"))
      CHECK(levels.size() == 1);
  }
  // The model's experts together: layers have no two parts of their own then.
  Words uniform = search;
  *std::ranges::find(uniform, "equal") = "uniform";
  uniform.insert(uniform.end(),
                 {"--strategy", "racing", "--block-tokens", "256", "--output", path("uniform")});
  run(2, "search", uniform);
  of_model.clear();
  for (const auto& [layer, levels] : levels_of_experts(folder / "uniform/best.txt"))
    of_model.insert(levels.begin(), levels.end());
  CHECK(of_model.size() == 1);
  // What another race has measured is of other modules.
  uniform.back() = path("other");
  uniform.insert(uniform.end(), {"--archive", path("withracing/archive.jsonl")});
  Words words = {"search", "--model", model().string(), "--threads", "1"};
  words.insert(words.end(), uniform.begin(), uniform.end());
  const test::Ended ended = run_galapagos(1, words);
  CHECK(ended.code == 3);
  CHECK(ended.errors.find("experts") != std::string::npos);

  run(2, "stitch",
      {"--database", path("x1.h5"), "--assignment", path("run1/best.txt"), "--output", path("new")});
  const HfConfig stitched = read_hf_config(folder / "new");
  for (const LayerShape& shape : stitched.layer_shapes)
    CHECK(std::set<std::int64_t>(shape.experts.begin(), shape.experts.end()).size() <= 1);
}

TEST_CASE("experts that cannot be tied", "[app]") {
  const test::TemporaryFolder folder;
  const auto path = [&](const std::string& name) { return (folder / name).string(); };
  run(1, "database", with_text({"--levels", "4", "--output", path("x.h5")}));
  const auto refused = [&](Words words, int code, const std::string& reason) {
    const test::Ended ended = run_galapagos(1, words);
    INFO(ended.errors);
    CHECK(ended.code == code);
    CHECK(ended.errors.find(reason) != std::string::npos);
  };
  refused({"assign", "--model", model().string(), "--database", path("x.h5"), "--output", path("a.txt"),
           "--by", "reap", "--experts", "equal", "--target-sparsity", "0.3"},
          2, "--by, --near, --perturb, --target-level, --experts");
  const fs::path dense = test::data_file("models/qwen3_tiny");
  refused(with_text({"search", "--model", dense.string(), "--database", path("x.h5"), "--output", path("run"),
                     "--experts", "equal", "--target-sparsity", "0.3", "--dry-run"}),
          3, "another model");
  refused({"plan", "search", "--ranks", "1", "--model", dense.string(), "--experts", "equal",
           "--target-sparsity", "0.3"},
          2, "there are no experts in this model");
}
