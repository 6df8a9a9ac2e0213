#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

std::vector<std::string> rounds_words(const std::filesystem::path& output,
                                      std::vector<std::string> more = {}) {
  std::vector<std::string> words = {"rounds",
                                    "--model",
                                    test::data_file("models/llama3_tiny").string(),
                                    "--calibration",
                                    test::data_file("text/sample.jsonl").string(),
                                    "--held-out",
                                    test::data_file("text/tiny_heldout.jsonl").string(),
                                    "--sequence-length",
                                    "128",
                                    "--batch-tokens",
                                    "512",
                                    "--target-sparsity",
                                    "0.4",
                                    "--rounds",
                                    "1",
                                    "--threads",
                                    "1",
                                    "--output",
                                    output.string()};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Json result_of(const std::filesystem::path& output) {
  return parse_json(read_file(output / "rounds.json"), "rounds.json");
}

}  // namespace

TEST_CASE("rounds end with the best model on held-out text, stopped or not", "[rounds]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "steps.ini",
                   "[database]\nlevels = 4\n[sensitivity]\ncalibration-tokens = 2000\n");
  const std::vector<std::string> config = {"--config", (folder / "steps.ini").string()};
  const test::Ended whole = run_galapagos(2, rounds_words(folder / "whole", config));
  INFO(whole.errors);
  REQUIRE(whole.code == 0);
  const Json found = result_of(folder / "whole");
  CHECK(found.at("measured").size() == 3);  // the first round, and the second's path and assignment
  double least = 1e300;
  std::string best;
  for (const Json& round : found.at("measured")) {
    CHECK(test::count_lines(whole.output, round.at("name").get<std::string>() + " ") >= 1);
    if (round.at("kl").get<double>() >= least) continue;
    least = round.at("kl").get<double>();
    best = round.at("name").get<std::string>();
  }
  CHECK(found.at("best") == best);
  const Json model = parse_json(
      run_galapagos(1, {"info", test::data_file("models/llama3_tiny").string(), "--json"}).output, "info");
  const double in_modules = model.at("parameters_in_layers").get<double>() - 2 * 4 * 64;  // less the norms
  for (const Json& round : found.at("measured"))
    CHECK(round.at("parameters").get<double>() <= model.at("parameters").get<double>() - 0.4 * in_modules);
  CHECK(test::count_lines(whole.output, "best: " + best) == 1);
  // The sections were for the steps.
  const Json database = parse_json(
      run_galapagos(1,
                    {"info", (folder / "whole" / "round-1" / "database.h5").string(), "--json", "--verify"})
          .output,
      "info");
  CHECK(database.at("modules")[1].at("removed").size() == 5);
  CHECK(database.at("sequence_length") == 128);
  // What is said is true of the files named.
  const test::Ended again = run_galapagos(
      1, {"eval", "--model", test::data_file("models/llama3_tiny").string(), "--database",
          found.at("database"), "--assignment", (folder / "whole" / "best.txt").string(), "--data",
          test::data_file("text/tiny_heldout.jsonl").string(), "--reference",
          test::data_file("models/llama3_tiny").string(), "--sequence-length", "128", "--json"});
  INFO(again.errors);
  CHECK(parse_json(again.output, "eval").at("kl").get<double>() == Approx(least).epsilon(1e-4));

  // Stopped within steps and between them; a collection of Hessians has to fit in.
  std::vector<std::string> stopped = config;
  stopped.insert(stopped.end(), {"--max-walltime", "3"});
  int stops = 0;
  test::Ended ended;
  do {
    ended = run_galapagos(2, rounds_words(folder / "stopped", stopped));
  } while (ended.code == 75 && ++stops < 30);
  INFO(ended.errors);
  CHECK(ended.code == 0);
  const Json resumed = result_of(folder / "stopped");
  CHECK(resumed.at("best") == found.at("best"));
  for (std::size_t i = 0; i < found.at("measured").size(); ++i) {
    CHECK(resumed.at("measured")[i].at("kl").get<double>() ==
          Approx(found.at("measured")[i].at("kl").get<double>()).epsilon(1e-4));
  }

  // Rounds that are done are not taken for others.
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> words = config;
    words.insert(words.end(), more.begin(), more.end());
    return [all = rounds_words(folder / "whole", words)](int) { return all; };
  };
  const auto other_target = [&](int) {
    std::vector<std::string> words = rounds_words(folder / "whole", config);
    *std::find(words.begin(), words.end(), "0.4") = "0.2";
    return words;
  };
  test::check_refused({{with({"--resume", "no"}), 3, "there is a run of rounds already", {}},
                       {with({"--compensate", "3"}), 3, "compensate", {}},
                       {other_target, 3, "target-sparsity", {}}});
}

TEST_CASE("what rounds refuse before they begin", "[rounds]") {
  const test::TemporaryFolder folder;
  int number = 0;
  const auto refuse = [&](std::vector<std::string> more, int code, const std::string& reason) {
    const std::filesystem::path output = folder / fmt::format("r{}", ++number);
    return test::Refusal{[words = rounds_words(output, std::move(more))](int) { return words; }, code, reason,
                         output / "round-0" / "sensitivity.h5"};
  };
  test::write_text(folder / "path.ini", "[database]\npath = x.txt\n");
  test::write_text(folder / "from.ini", "[sensitivity]\nfrom = kl\n");
  test::write_text(folder / "resume.ini", "[database]\nresume = true\n");
  test::check_refused({refuse({"--compensate", "banana"}, 2, "banana"),
                       refuse({"--target-level", "2"}, 2, "2 targets"),
                       refuse({"--rounds", "-1"}, 2, "--rounds"),
                       refuse({"--held-out", (folder / "nothing.jsonl").string()}, 3, "nothing.jsonl"),
                       refuse({"--from", "banana"}, 2, "banana"),
                       refuse({"--config", (folder / "path.ini").string()}, 2, "[database] path"),
                       refuse({"--config", (folder / "from.ini").string()}, 2, "[sensitivity] from"),
                       refuse({"--config", (folder / "resume.ini").string()}, 2, "[database] resume")});
}

TEST_CASE("rounds after the first measure the divergence's slope where asked", "[rounds][.slow]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "steps.ini",
                   "[database]\nlevels = 4\n[sensitivity]\ncalibration-tokens = 2000\n");
  const test::Ended ended = run_galapagos(
      2, rounds_words(folder / "run", {"--config", (folder / "steps.ini").string(), "--from", "kl"}));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  const auto losses = [&](const std::string& round) {
    const std::string file = (folder / "run" / round / "database.h5").string();
    std::vector<double> all;
    const Json info = parse_json(run_galapagos(1, {"info", file, "--json"}).output, "info");
    for (const Json& module : info.at("modules"))
      for (const Json& loss : module.at("end_loss")) all.push_back(loss.get<double>());
    return all;
  };
  // A quadratic form never falls below 0; a change of the divergence does where weights are put back.
  const std::vector<double> drawn = losses("round-0"), divergence = losses("round-1");
  CHECK(std::all_of(drawn.begin(), drawn.end(), [](double loss) { return loss >= 0; }));
  CHECK(std::any_of(divergence.begin(), divergence.end(), [](double loss) { return loss < 0; }));
}
