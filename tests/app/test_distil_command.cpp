#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/phases.hpp"
#include "train_command.hpp"

#include <galapagos/core/file.hpp>

using namespace galapagos;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(const fs::path& output) {
  return {"distil",
          "--model",
          test::pruned_model().string(),
          "--reference",
          test::data_file("models/llama3_tiny").string(),
          "--data",
          test::data_file("text/sample.jsonl").string(),
          "--tokens",
          "4000",
          "--sequence-length",
          "64",
          "--step-tokens",
          "300",
          "--learning-rate",
          "2e-3",
          "--output",
          output.string(),
          "--threads",
          "1"};
}

}  // namespace

TEST_CASE("distil brings a pruned model nearer to the unpruned one", "[distil]") {
  const test::TemporaryFolder folder;
  const auto divergence = [&](const fs::path& model) {
    return test::evaluated(model, {"--reference", test::data_file("models/llama3_tiny").string()})
        .at("kl")
        .get<double>();
  };
  const double before = divergence(test::pruned_model());
  for (const int ranks : {1, 3}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    const test::Ended ended = test::run_galapagos(ranks, words(run));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    const double after = divergence(run / "model");
    INFO(before << " " << after);
    CHECK(after < 0.97 * before);
    test::check_phases(parse_json(read_file(run / "manifest.json"), "manifest.json"),
                       {"reading", "moving along the path", "measuring", "training", "writing", "other"});
    for (const char* file : {"tokenizer.json", "modeling_galapagos.py", "pruning.json"})
      CHECK(fs::exists(run / "model" / file));
    CHECK(!fs::exists(run / "layers"));
  }
  // The configuration that is left behind gives the same model.
  REQUIRE(test::run_galapagos(1, {"distil", "--config", (folder / "run1" / "config.ini").string(), "--output",
                                  (folder / "again").string()})
              .code == 0);
  CHECK(read_file(folder / "again" / "model" / "model.safetensors") ==
        read_file(folder / "run1" / "model" / "model.safetensors"));
}

TEST_CASE("distil says what is missing, and does nothing on a dry run", "[distil]") {
  const test::TemporaryFolder folder;
  CHECK(test::run_galapagos(1, {"distil", "--model", "x"}).code == 2);
  std::vector<std::string> dry = words(folder / "run");
  dry.push_back("--dry-run");
  const test::Ended ended = test::run_galapagos(2, dry);
  CHECK(ended.code == 0);
  CHECK(ended.errors.find("memory of a rank") != std::string::npos);
  CHECK(!fs::exists(folder / "run"));
  // Its section may stand in a file for all commands.
  test::write_text(folder / "all.ini", "[distil]\nepochs = 3\n");
  const std::string ini = (folder / "all.ini").string();
  CHECK(test::run_galapagos(1, {"search", "--config", ini, "--print-config"}).code == 0);
  const test::Ended own = test::run_galapagos(1, {"distil", "--config", ini, "--print-config"});
  CHECK(own.output.find("epochs = 3") != std::string::npos);
}
