#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

// What is left of a DarwinLM model's layers stands in its weights; a plan also takes the config.json alone.

using namespace galapagos;

namespace {

namespace fs = std::filesystem;

constexpr const char* warning =
    ": what is left of a DarwinLM model's layers is in its weights, which are not there: taken for the "
    "unpruned model";

test::Ended plan(std::vector<std::string> words, const fs::path& model) {
  words.insert(words.begin(), {test::program(), "plan"});
  words.insert(words.end(), {"--model", model.string(), "--json"});
  const test::Ended ended = test::run_program(words);
  INFO(ended.errors);
  CHECK(ended.code == 0);
  return ended;
}

}  // namespace

TEST_CASE("a plan of a DarwinLM model without weights is the unpruned model's, and says so once", "[plan]") {
  const test::TemporaryFolder plain, pruned;
  Json json = read_json(test::data_file("shapes/llama-2-7b.json"));
  test::write_text(plain / "config.json", json.dump());
  json["model_type"] = "darwinlm";
  json["auto_map"] = {{"AutoConfig", "configuration_darwinlm.DarwinLMConfig"}};
  test::write_text(pruned / "config.json", json.dump());
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--ranks", "4"}, {"stitch", "--ranks", "2"}, {"collectives"}}) {
    CAPTURE(words.front());
    const test::Ended expected = plan(words, plain.path());
    CHECK(test::count_lines(expected.errors, "DarwinLM") == 0);
    for (const fs::path& model : {pruned.path(), pruned / "config.json"}) {
      const test::Ended ended = plan(words, model);
      CHECK(ended.output == expected.output);
      CHECK(test::count_lines(ended.errors, model.string() + warning) == 1);
      CHECK(test::count_lines(ended.errors, "DarwinLM") == 1);
    }
  }
}
