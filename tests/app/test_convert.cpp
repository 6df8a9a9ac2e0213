#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const std::string model = test::data_file("models/llama3_tiny").string();

Words convert_words(const std::string& option, const fs::path& from, const fs::path& output) {
  return {"convert", "--model", model, option, from.string(), "--output", output.string()};
}

/// The best assignment that a small search finds in a database.
std::string found_in(const fs::path& database, const fs::path& run) {
  const test::Ended ended = run_galapagos(2, {"search",
                                              "--model",
                                              model,
                                              "--database",
                                              database.string(),
                                              "--calibration",
                                              test::data_file("text/sample.jsonl").string(),
                                              "--target-sparsity",
                                              "0.4",
                                              "--generations",
                                              "3",
                                              "--offspring",
                                              "4",
                                              "--survivors",
                                              "1",
                                              "--tokens",
                                              "512",
                                              "--sequence-length",
                                              "128",
                                              "--output",
                                              run.string(),
                                              "--threads",
                                              "1"});
  INFO(ended.errors);
  CHECK(ended.code == 0);
  return fs::exists(run / "best.txt") ? read_file(run / "best.txt") : std::string();
}

std::string weights_of(const fs::path& database, const fs::path& assignment, const fs::path& output) {
  const test::Ended ended =
      run_galapagos(1, {"stitch", "--model", model, "--database", database.string(), "--assignment",
                        assignment.string(), "--output", output.string()});
  INFO(ended.errors);
  CHECK(ended.code == 0);
  return ended.code == 0 ? read_file(output / "model.safetensors") : std::string();
}

}  // namespace

TEST_CASE("a database that has been DarwinLM's leads to the same model", "[app]") {
  const test::TemporaryFolder folder;
  CHECK(run_galapagos(2, test::database_words(folder / "x.h5", {"--calibration-tokens", "3000"})).code == 0);
  const test::Ended out = run_galapagos(3, convert_words("--database", folder / "x.h5", folder / "theirs"));
  INFO(out.errors);
  CHECK(out.code == 0);
  CHECK(fs::exists(folder / "theirs/model.layers.0.self_attn.o_proj/0.pth"));
  const test::Ended in = run_galapagos(2, convert_words("--darwinlm", folder / "theirs", folder / "y.h5"));
  INFO(in.errors);
  CHECK(in.code == 0);
  CHECK(test::count_lines(in.errors, "losses are unknown") == 1);

  const test::Ended info = run_galapagos(1, {"info", (folder / "y.h5").string(), "--verify"});
  CHECK(info.code == 0);
  CHECK(test::count_lines(info.output, "imported       from DarwinLM's files") == 1);
  CHECK(test::count_lines(info.output, "loss of") == 0);
  const test::Ended json = run_galapagos(1, {"info", (folder / "y.h5").string(), "--json"});
  CHECK(parse_json(json.output, "info").at("imported_from") == "DarwinLM");

  const std::string best = found_in(folder / "x.h5", folder / "run_x");
  CHECK(best.find("model.layers.0.mlp.down_proj: ") != std::string::npos);
  CHECK(found_in(folder / "y.h5", folder / "run_y") == best);
  const std::string weights = weights_of(folder / "x.h5", folder / "run_x/best.txt", folder / "model_x");
  CHECK_FALSE(weights.empty());
  CHECK(weights_of(folder / "y.h5", folder / "run_x/best.txt", folder / "model_y") == weights);

  const test::Ended assigned =
      run_galapagos(1, {"assign", "--model", model, "--database", (folder / "y.h5").string(),
                        "--target-sparsity", "0.4", "--output", (folder / "a.txt").string()});
  CHECK(assigned.code == 3);
  CHECK_FALSE(fs::exists(folder / "a.txt"));
}

TEST_CASE("conversions that are refused", "[app]") {
  const test::TemporaryFolder folder;
  const auto check = [&](const Words& words, int code, const std::string& reason) {
    const test::Ended ended = run_galapagos(2, words, 60);
    INFO(ended.errors);
    CHECK(ended.code == code);
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
    CHECK(ended.errors.find(reason) != std::string::npos);
  };
  Words neither = convert_words("--darwinlm", folder / "a", folder / "b.h5");
  neither.erase(neither.begin() + 3, neither.begin() + 5);
  check(neither, 2, "what to convert is to be one of the two [--darwinlm, --database]");
  check(convert_words("--darwinlm", folder / "a", folder / "b.h5"), 3, "there is no such folder");
  fs::create_directory(folder / "a");
  check(convert_words("--darwinlm", folder / "a", folder / "b.h5"), 3, "model.layers.0.self_attn.o_proj");
  check(convert_words("--database", folder / "c.h5", folder / "b"), 3, "c.h5");
  CHECK(fs::is_empty(folder / "a"));
  CHECK_FALSE(fs::exists(folder / "b.h5"));
}
