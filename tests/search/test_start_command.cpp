#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <sstream>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/hdf5.hpp>

using namespace galapagos;
using test::check_refused;
using test::content;
using test::count_lines;
using test::Ended;
using test::findings;
using test::Refusal;
using test::run_galapagos;
using test::search_inputs;
using test::search_words;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Change = std::map<std::string, std::string>;

std::string with_losses() {
  return (search_inputs() / "s.h5").string();
}

Words assign_words(const fs::path& output, const Change& change = {}) {
  Change options = {{"--model", test::data_file("models/llama3_tiny").string()},
                    {"--database", with_losses()},
                    {"--output", output.string()},
                    {"--target-level", "3"}};
  for (const auto& [option, value] : change) options[option] = value;
  Words words = {"assign"};
  for (const auto& [option, value] : options) {
    if (value == "-") continue;
    words.insert(words.end(), {option, value});
  }
  return words;
}

// A search over the database with end losses.
Words start_words(const fs::path& output, Change change = {}) {
  change.try_emplace("--database", with_losses());
  change.try_emplace("--generations", "3");
  return search_words(output, change);
}

// The levels of an assignment's text, by layer.
std::vector<int> levels_of(const std::string& text, const std::string& part) {
  std::vector<int> levels;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(part) != std::string::npos) levels.push_back(std::stoi(line.substr(line.find(": ") + 2)));
  }
  return levels;
}

// The least sum of weight * level^power over all levels 0 to 6 of four modules that sum up to 12.
double least_by_hand(const std::vector<double>& weights, double power) {
  double least = std::numeric_limits<double>::infinity();
  for (int a = 0; a <= 6; ++a) {
    for (int b = 0; b <= 6; ++b) {
      for (int c = 0; c <= 6; ++c) {
        const int d = 12 - a - b - c;
        if (d < 0 || d > 6) continue;
        least = std::min(least, weights[0] * std::pow(a, power) + weights[1] * std::pow(b, power) +
                                    weights[2] * std::pow(c, power) + weights[3] * std::pow(d, power));
      }
    }
  }
  return least;
}

double sum_of(const std::vector<int>& levels, const std::vector<double>& weights, double power) {
  double sum = 0;
  for (std::size_t i = 0; i < levels.size(); ++i) sum += weights.at(i) * std::pow(levels[i], power);
  return sum;
}

}  // namespace

TEST_CASE("assign writes the assignment of least predicted loss", "[assign]") {
  const test::TemporaryFolder folder;
  std::string expected;
  for (const int ranks : {1, 3}) {
    const fs::path output = folder / ("a" + std::to_string(ranks) + ".txt");
    const Ended ended = run_galapagos(ranks, assign_words(output));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    if (ranks == 1) expected = content(output);
    CHECK(content(output) == expected);
    CHECK(count_lines(ended.output, "uniform") == 1);
    CHECK(count_lines(ended.output, "assigned") == 1);
    CHECK(!fs::exists(part_path(output)));
    // The last word of a line is the sum of end losses.
    const std::vector<int> ffn = levels_of(expected, "down_proj"), attention = levels_of(expected, "o_proj");
    REQUIRE(ffn.size() == 4);
    REQUIRE(attention.size() == 4);
    const double best = 0.01 * (least_by_hand({1, 2, 3, 4}, 1.5) + least_by_hand({4, 3, 2, 1}, 2.0));
    CHECK(0.01 * (sum_of(ffn, {1, 2, 3, 4}, 1.5) + sum_of(attention, {4, 3, 2, 1}, 2.0)) == Approx(best));
    std::istringstream lines(ended.output);
    std::map<std::string, double> said;
    for (std::string line; std::getline(lines, line);) {
      const std::size_t last = line.find_last_of(' ');
      if (line.find("predicted") == std::string::npos)
        said[line.substr(0, line.find(' '))] = std::stod(line.substr(last));
    }
    CHECK(said.at("assigned") == Approx(best).epsilon(1e-5));
    CHECK(said.at("uniform") == Approx(0.01 * 10 * (std::pow(3, 1.5) + 9)).epsilon(1e-5));
    CHECK(said.at("dense") == 0);
  }
  // A size, where levels may be traded between kinds.
  const fs::path half = folder / "half.txt";
  CHECK(run_galapagos(2, assign_words(half, {{"--target-level", "-"}, {"--target-sparsity", "0.5"}})).code ==
        0);
  CHECK(content(half) != expected);
  // Near another, within steps that leave less to choose from; that other itself where it fits.
  const fs::path near = folder / "near.txt", repaired = folder / "repaired.txt";
  REQUIRE(run_galapagos(
              2, assign_words(near, {{"--target-level", "2"}, {"--near", half.string()}, {"--steps", "2"}}))
              .code == 0);
  const std::vector<int> from = levels_of(content(half), "proj"), to = levels_of(content(near), "proj");
  REQUIRE(from.size() == to.size());
  for (std::size_t i = 0; i < from.size(); ++i) CHECK(std::abs(from[i] - to[i]) <= 2);
  Words fewest = assign_words(repaired, {{"--near", (folder / "a1.txt").string()}});
  fewest.push_back("--fewest-steps");
  CHECK(run_galapagos(1, fewest).code == 0);
  CHECK(content(repaired) == expected);
  // Others near it, the same for the same seed.
  std::map<std::string, std::string> perturbed;
  for (const std::string seed : {"1", "2", "3"}) {
    const fs::path output = folder / ("p" + seed), again = folder / ("q" + seed);
    const Change change = {{"--perturb", "0.5"}, {"--seed", seed}};
    CHECK(run_galapagos(1, assign_words(output, change)).code == 0);
    CHECK(run_galapagos(2, assign_words(again, change)).code == 0);
    CHECK(content(output) == content(again));
    perturbed[content(output)] = seed;
  }
  CHECK(perturbed.size() > 1);
  // What is written is an assignment that the other commands take.
  CHECK(run_galapagos(1, {"stitch", "--model", test::data_file("models/llama3_tiny").string(), "--database",
                          with_losses(), "--assignment", (folder / "a1.txt").string(), "--output",
                          (folder / "model").string()})
            .code == 0);
}

TEST_CASE("assign refuses what it cannot do", "[assign]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "a.txt";
  std::vector<Refusal> all;
  const auto refused = [&](const Change& change, int code, const std::string& reason) {
    all.push_back({[=](int) { return assign_words(output, change); }, code, reason, output});
  };
  refused({{"--target-level", "-"}}, 2, "0 targets");
  refused({{"--target-level", "9"}}, 2, "levels 0 to 6, not 9");
  refused({{"--output", "-"}}, 2, "--output");
  refused({{"--perturb", "-1"}}, 2, "--perturb");
  refused({{"--steps", "2"}}, 2, "--near");
  test::write_text(folder / "none.txt", "");
  refused({{"--near", (folder / "none.txt").string()}}, 2, "--steps");
  refused({{"--near", (folder / "none.txt").string()}, {"--steps", "-1"}}, 2, "--steps");
  refused({{"--near", (folder / "none.txt").string()}, {"--steps", "1"}}, 3, "none.txt");
  refused({{"--near", (folder / "lost.txt").string()}, {"--steps", "1"}}, 3, "lost.txt");
  refused({{"--database", (search_inputs() / "x.h5").string()}}, 3, "the database has no end losses");
  refused({{"--database", (folder / "none.h5").string()}}, 3, "none.h5");
  refused({{"--model", test::data_file("models/llama2_tiny").string()}}, 3, "made from another model");
  const auto damaged = [&](const std::string& name, double value) {
    fs::copy_file(search_inputs() / "x.h5", folder / name);
    test::add_end_losses(folder / name, [&](int layer, bool ffn, int level) {
      return layer == 2 && ffn && level == 4 ? value : level * 1.0;
    });
    refused({{"--database", (folder / name).string()}}, 3,
            "the end loss of model.layers.2.mlp.down_proj at level 4");
  };
  damaged("negative.h5", -1e-9);
  damaged("infinite.h5", std::numeric_limits<double>::infinity());
  damaged("nan.h5", std::numeric_limits<double>::quiet_NaN());
  test::write_text(folder / "there.txt", "mine");
  all.push_back(
      {[&](int) { return assign_words(folder / "there.txt"); }, 3, "another assignment is there", {}});
  check_refused(all);
  CHECK(content(folder / "there.txt") == "mine");
}

TEST_CASE("a search begins where --start says, and the same on any number of ranks", "[start]") {
  const test::TemporaryFolder folder;
  REQUIRE(run_galapagos(1, assign_words(folder / "best.txt")).code == 0);
  const std::string best = content(folder / "best.txt");
  std::string expected;
  for (const int ranks : {1, 2, 3}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    const Ended ended = run_galapagos(ranks, start_words(run));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    if (ranks == 1) expected = findings(run);
    CHECK(findings(run) == expected);
    CHECK(content(run / "start.txt") == best);
    CHECK(content(run / "uniform.txt") != best);
    CHECK(count_lines(ended.errors, "rank correlation of predicted and measured losses") == 1);
    const Json manifest = read_json(run / "manifest.json");
    CHECK(manifest.at("start") == "sensitivity");
    CHECK(manifest.at("best").at("predicted").get<double>() > 0);
    const double correlation = manifest.at("rank_correlation").get<double>();
    CHECK(std::abs(correlation) <= 1);
    CHECK(correlation == read_json(folder / "run1" / "manifest.json").at("rank_correlation").get<double>());
  }
  std::istringstream lines(content(folder / "run1" / "metrics.jsonl"));
  int generations = 0;
  for (std::string line; std::getline(lines, line);) {
    const Json json = parse_json(line, "metrics.jsonl");
    if (!json.contains("island")) continue;
    ++generations;
    CHECK(json.at("predicted").at("best").get<double>() > 0);
    CHECK(json.at("predicted").at("mean").get<double>() > 0);
    CHECK(std::abs(json.at("rank_correlation").get<double>()) <= 1);
  }
  CHECK(generations == 12);
  // Without end losses nothing of it is there, and the start is uniform.
  CHECK(
      run_galapagos(2, start_words(folder / "without", {{"--database", (search_inputs() / "x.h5").string()}}))
          .code == 0);
  CHECK(findings(folder / "without").find("predicted") == std::string::npos);
  CHECK(content(folder / "without" / "start.txt") == content(folder / "without" / "uniform.txt"));
  CHECK(read_json(folder / "without" / "manifest.json").at("start") == "uniform");
  // The same search by the other words that there are for it; other islands' starts with another word.
  CHECK(run_galapagos(2, start_words(folder / "asked", {{"--start", "sensitivity"}})).code == 0);
  CHECK(findings(folder / "asked") == expected);
  CHECK(run_galapagos(2, start_words(folder / "uniform", {{"--start", "uniform"}})).code == 0);
  CHECK(content(folder / "uniform" / "start.txt") == content(folder / "uniform" / "uniform.txt"));
  CHECK(findings(folder / "uniform") != expected);
  Change from_file = {{"--start", (folder / "best.txt").string()}, {"--islands", "1"}};
  CHECK(run_galapagos(2, start_words(folder / "file", from_file)).code == 0);
  CHECK(content(folder / "file" / "start.txt") == best);
  CHECK(read_json(folder / "file" / "manifest.json").at("start") == from_file["--start"]);
  // One island that begins at the same place finds the same, whatever named the place.
  CHECK(run_galapagos(1, start_words(folder / "one", {{"--islands", "1"}})).code == 0);
  CHECK(findings(folder / "file") == findings(folder / "one"));
}

TEST_CASE("a search from its start is resumed to the same end, with the same start only", "[start][.slow]") {
  const test::TemporaryFolder folder;
  CHECK(run_galapagos(2, start_words(folder / "whole")).code == 0);
  CHECK(run_galapagos(3, start_words(folder / "parts", {{"--generations", "1"}})).code == 0);
  const Change resume = {{"--resume", ""}};
  CHECK(run_galapagos(1, start_words(folder / "parts", resume)).code == 0);
  CHECK(content(folder / "parts" / "best.txt") == content(folder / "whole" / "best.txt"));
  const auto correlation = [&](const char* run) {
    return read_json(folder / run / "manifest.json").at("rank_correlation").get<double>();
  };
  CHECK(correlation("parts") == correlation("whole"));
  Change other = {{"--start", "uniform"}, {"--resume", ""}};
  const Ended refused = run_galapagos(1, start_words(folder / "parts", other));
  CHECK(refused.code == 3);
  CHECK(refused.errors.find("'start' was \"sensitivity\" and is \"uniform\" now") != std::string::npos);
  // The file may change its name, not its levels.
  CHECK(run_galapagos(1, assign_words(folder / "a.txt")).code == 0);
  CHECK(run_galapagos(1, assign_words(folder / "b.txt", {{"--perturb", "1"}, {"--seed", "2"}})).code == 0);
  REQUIRE(content(folder / "a.txt") != content(folder / "b.txt"));
  CHECK(run_galapagos(2, start_words(folder / "file",
                                     {{"--start", (folder / "a.txt").string()}, {"--generations", "1"}}))
            .code == 0);
  other["--start"] = (folder / "b.txt").string();
  CHECK(run_galapagos(2, start_words(folder / "file", other)).code == 3);
  fs::copy_file(folder / "a.txt", folder / "c.txt");
  other["--start"] = (folder / "c.txt").string();
  CHECK(run_galapagos(2, start_words(folder / "file", other)).code == 0);
}

TEST_CASE("the strategy sensitivity measures the knapsack's assignments alone", "[start]") {
  const test::TemporaryFolder folder;
  REQUIRE(run_galapagos(1, assign_words(folder / "best.txt")).code == 0);
  Change options = {{"--strategy", "sensitivity"}, {"--islands", "1"}};
  for (const int ranks : {1, 3}) {
    const fs::path run = folder / ("one" + std::to_string(ranks));
    const Ended ended = run_galapagos(ranks, start_words(run, options));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(content(run / "best.txt") == content(folder / "best.txt"));
    CHECK(count_lines(content(run / "metrics.jsonl"), "\"comparison\":") == 1);
    CHECK(count_lines(content(run / "metrics.jsonl"), "\"island\":") == 0);
    const Json manifest = read_json(run / "manifest.json");
    CHECK(manifest.at("strategy") == "sensitivity");
    CHECK(manifest.at("generations") == 0);
    CHECK(manifest.at("best").at("fitness").get<double>() > 0);
  }
  CHECK(findings(folder / "one1") == findings(folder / "one3"));
  CHECK(run_galapagos(2, start_words(folder / "one1",
                                     {{"--strategy", "sensitivity"}, {"--islands", "1"}, {"--resume", ""}}))
            .code == 0);
  CHECK(findings(folder / "one1") == findings(folder / "one3"));
  // The best of several is at least as good on the same tokens.
  options["--islands"] = "6";
  CHECK(run_galapagos(2, start_words(folder / "six", options)).code == 0);
  const auto fitness = [&](const char* run) {
    return read_json(folder / run / "manifest.json").at("best").at("fitness").get<double>();
  };
  CHECK(fitness("six") <= fitness("one1"));
  // No work is planned but that of the comparison.
  for (const char* every : {"0", "3"}) {
    Words plan = {"plan",
                  "search",
                  "--model",
                  test::data_file("models/llama3_tiny").string(),
                  "--strategy",
                  "sensitivity",
                  "--eval-every",
                  every,
                  "--calibration-tokens",
                  "20000",
                  "--ranks",
                  "2",
                  "--json"};
    const Ended planned = run_galapagos(1, plan);
    INFO(planned.errors);
    REQUIRE(planned.code == 0);
    const Json operations = parse_json(planned.output, "plan").at("search").at("operations");
    CHECK(operations.at("comparison").get<double>() > 0);
    CHECK(operations.at("total").get<double>() ==
          Approx(operations.at("answers").get<double>() + operations.at("comparison").get<double>()));
  }
}

TEST_CASE("a start that cannot be had is refused", "[start]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "run";
  REQUIRE(run_galapagos(1, assign_words(folder / "four.txt", {{"--target-level", "4"}})).code == 0);
  std::vector<Refusal> all;
  const auto refused = [&](const Change& change, int code, const std::string& reason) {
    all.push_back({[=](int) { return start_words(output, change); }, code, reason, output});
  };
  const std::string without = (search_inputs() / "x.h5").string(), four = (folder / "four.txt").string();
  refused({{"--start", "sensitivity"}, {"--database", without}}, 2, "no end losses to begin with");
  refused({{"--strategy", "sensitivity"}, {"--database", without}}, 2, "no end losses to begin with");
  refused({{"--start", four}}, 2, "4 levels of attn modules too many, 16 instead of 12");
  refused({{"--start", four}, {"--target-level", "-"}, {"--target-sparsity", "0.9"}}, 2,
          "prunable parameters too many");
  refused({{"--start", (folder / "none.txt").string()}}, 3, "none.txt");
  refused({{"--start", "uniform"}, {"--strategy", "random"}}, 2, "begins with random assignments");
  refused({{"--start", "uniform"}, {"--strategy", "sensitivity"}}, 2, "by sensitivity or by gradient alone");
  test::write_text(folder / "short.txt", "model.layers.0.mlp.down_proj: 3\n");
  refused({{"--start", (folder / "short.txt").string()}}, 3, "no line for");
  check_refused(all);
}

TEST_CASE("a search with proposals is the same on any number of ranks, stopped or not", "[start]") {
  const test::TemporaryFolder folder;
  const Change options = {{"--proposals", "2"}, {"--generations", "5"}};
  std::string expected;
  for (const int ranks : {1, 2, 3, 4}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    CHECK(run_galapagos(ranks, start_words(run, options)).code == 0);
    if (ranks == 1) expected = findings(run);
    CHECK(findings(run) == expected);
  }
  CHECK(count_lines(expected, "\"origin\":\"proposal\"") > 20);
  CHECK(count_lines(expected, "\"surrogate\":") == count_lines(expected, "\"origin\":"));
  const Json manifest = read_json(folder / "run1" / "manifest.json");
  CHECK(std::abs(manifest.at("surrogate_rank_correlation").get<double>()) <= 1);
  // Stopped by a signal somewhere, and gone on with on other numbers of ranks.
  const fs::path run = folder / "stopped";
  for (const int generations : {1, 3}) {
    Change resumed = options;
    if (generations > 1) resumed["--resume"] = "";
    const Ended ended = run_galapagos(generations, start_words(run, resumed), 120,
                                      [&] { return test::generations_done(run) >= generations; });
    CHECK(ended.code != 0);  // killed
  }
  Change resumed = options;
  resumed["--resume"] = "";
  CHECK(run_galapagos(2, start_words(run, resumed)).code == 0);
  CHECK(findings(run) == expected);
  // Another number of proposals is another search.
  resumed["--proposals"] = "1";
  CHECK(run_galapagos(2, start_words(run, resumed)).errors.find("'proposals' was 2 and is 1 now") !=
        std::string::npos);
  std::vector<Refusal> all;
  const auto refused = [&](Change change, const std::string& reason) {
    const fs::path output = folder / ("refused" + std::to_string(all.size()));
    change.try_emplace("--proposals", "2");
    all.push_back({[=](int) { return start_words(output, change); }, 2, reason, output});
  };
  refused({{"--proposals", "-1"}}, "--proposals");
  refused({{"--proposals", "7"}}, "7 proposals of 6 offspring");
  refused({{"--strategy", "random"}}, "proposals are for the strategy evolution");
  refused({{"--database", (search_inputs() / "x.h5").string()}}, "no end losses to propose by");
  check_refused(all);
}
