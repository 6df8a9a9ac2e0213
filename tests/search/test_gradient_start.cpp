#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <cmath>
#include <csignal>
#include <map>
#include <sstream>
#include <unistd.h>

#include <galapagos/core/json.hpp>

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

// A search of few generations whose islands begin at levels learned by gradient.
Words words_of(const fs::path& output, Change change = {}) {
  change.try_emplace("--database", (search_inputs() / "s.h5").string());
  change.try_emplace("--start", "gradient");
  change.try_emplace("--gradient-steps", "12");
  change.try_emplace("--gradient-tokens", "1500");
  change.try_emplace("--generations", "2");
  change.try_emplace("--compare-tokens", "2000");
  return search_words(output, change);
}

Json levels_of(const fs::path& run) {
  return parse_json(content(run / "levels.json"), "levels.json");
}

/// What the log says of the levels: their fitness and that of the start before.
std::pair<double, double> said_of_levels(const std::string& log) {
  std::pair<double, double> found{NAN, NAN};
  const std::string phrase = "levels learned by gradient: fitness ", before = "before ";
  const std::size_t at = log.find(phrase), other = log.find(before, at);
  if (at != std::string::npos)
    found = {std::stod(log.substr(at + phrase.size())), std::stod(log.substr(other + before.size()))};
  return found;
}

}  // namespace

TEST_CASE("levels are learned alike on any number of ranks, and better than the start", "[gradient]") {
  const test::TemporaryFolder folder;
  for (const bool by_level : {true, false}) {
    Change size;
    if (!by_level) size = {{"--target-level", "-"}, {"--target-sparsity", "0.5"}};
    std::string expected, levels;
    for (const int ranks : {1, 2, 3, 5}) {
      const fs::path run = folder / (std::to_string(ranks) + (by_level ? "level" : "sparsity"));
      const Ended ended = run_galapagos(ranks, words_of(run, size));
      INFO(ended.errors);
      REQUIRE(ended.code == 0);
      if (ranks == 1) {
        expected = findings(run);
        levels = content(run / "levels.json");
      }
      CHECK(findings(run) == expected);
      CHECK(content(run / "levels.json") == levels);
      CHECK(levels_of(run).at("step") == 12);
      const auto [learned, before] = said_of_levels(ended.errors);
      CHECK(learned < 0.97 * before);
      CHECK(read_json(run / "manifest.json").at("start") == "gradient");
      CHECK(content(run / "start.txt") != content(run / "uniform.txt"));
    }
  }
  // Of another fitness, whose gradient is its own.
  const Ended apart = run_galapagos(2, words_of(folder / "tv", {{"--fitness", "tv"}}));
  INFO(apart.errors);
  CHECK(apart.code == 0);
  const auto [of_learned, of_start] = said_of_levels(apart.errors);
  CHECK(of_learned < of_start);
  CHECK(of_start < 1);
  // Without end losses from the uniform assignment, and measured alone.
  const Ended ended =
      run_galapagos(2, words_of(folder / "alone", {{"--database", (search_inputs() / "x.h5").string()},
                                                   {"--strategy", "sensitivity"},
                                                   {"--islands", "1"}}));
  INFO(ended.errors);
  CHECK(ended.code == 0);
  const auto [learned, before] = said_of_levels(ended.errors);
  CHECK(learned < before);
  CHECK(content(folder / "alone" / "best.txt") == content(folder / "alone" / "start.txt"));
  CHECK(read_json(folder / "alone" / "manifest.json").at("best").at("fitness").get<double>() ==
        Approx(learned).epsilon(1e-5));
}

TEST_CASE("levels are learned alike on shards, to rounding", "[gradient][.slow]") {
  const test::TemporaryFolder folder;
  const Change fp32 = {{"--precision", "fp32"}};
  REQUIRE(run_galapagos(1, words_of(folder / "whole", fp32)).code == 0);
  const Json whole = levels_of(folder / "whole");
  for (const int ranks : {2, 4}) {
    Change sharded = fp32;
    sharded["--shards"] = "2";
    const fs::path run = folder / std::to_string(ranks);
    const Ended ended = run_galapagos(ranks, words_of(run, sharded));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    const Json found = levels_of(run);
    for (std::size_t i = 0; i < whole.at("settled").size(); ++i) {
      CHECK(std::abs(found.at("settled")[i].get<double>() - whole.at("settled")[i].get<double>()) < 1e-2);
    }
  }
}

TEST_CASE("learning that is killed or stopped goes on to the same levels", "[gradient]") {
  const test::TemporaryFolder folder;
  const Change many = {{"--gradient-steps", "40"}};
  REQUIRE(run_galapagos(2, words_of(folder / "whole", many)).code == 0);
  const std::string expected = findings(folder / "whole"), levels = content(folder / "whole" / "levels.json");
  const auto steps_done = [](const fs::path& run) {
    const Json json = Json::parse(content(run / "levels.json"), nullptr, false);
    return json.is_object() ? json.at("step").get<int>() : 0;
  };
  int number = 0;
  for (const int steps : {1, 7, 25, 40}) {
    const fs::path run = folder / ("killed" + std::to_string(number));
    run_galapagos(number % 3 + 1, words_of(run, many), 60, [&] { return steps_done(run) >= steps; });
    const int done = steps_done(run);
    CHECK(done >= steps);
    ++number;
    const Ended ended = run_galapagos(number % 3 + 1, words_of(run, many));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(content(run / "levels.json") == levels);
    CHECK(findings(run) == expected);
  }
  const fs::path run = folder / "limited";
  Change limited = many;
  limited["--max-walltime"] = "1";
  limited["--gradient-steps"] = "100000";
  const Ended stopped = run_galapagos(3, words_of(run, limited));
  CHECK(stopped.code == 75);
  CHECK(count_lines(stopped.errors, "galapagos: stopped by --max-walltime") == 1);
  CHECK(count_lines(stopped.errors, "error") == 0);
  // Other learning is another search.
  const Ended refused = run_galapagos(1, words_of(run, many));
  CHECK(refused.code == 3);
  CHECK(refused.errors.find("gradient-steps") != std::string::npos);
  // A damaged file of levels is named.
  Change again = limited;
  again["--max-walltime"] = "00:10:00";
  if (fs::exists(run / "levels.json")) {
    test::write_text(run / "levels.json", "{\"step\": 3}");
    const Ended damaged = run_galapagos(2, words_of(run, again));
    CHECK(damaged.code == 3);
    CHECK(damaged.errors.find("levels.json") != std::string::npos);
  }
}

TEST_CASE("learning levels with wrong options is refused", "[gradient]") {
  const test::TemporaryFolder folder;
  std::vector<Refusal> all;
  const auto refused = [&](const Change& change, const std::string& reason) {
    all.push_back({[=, &folder](int ranks) { return words_of(folder / std::to_string(ranks), change); },
                   2,
                   reason,
                   {}});
  };
  refused({{"--gradient-steps", "0"}}, "--gradient-steps");
  refused({{"--gradient-tokens", "1"}}, "--gradient-tokens");
  refused({{"--gradient-tokens", "2001"}}, "--gradient-tokens");
  refused({{"--gradient-spread", "0"}}, "--gradient-spread");
  refused({{"--gradient-spread", "nan"}}, "--gradient-spread");
  refused({{"--strategy", "random"}}, "--start");
  // In a model that norms what its layers' parts put out a blend with nothing is no less than all.
  const std::string gemma = test::data_file("models/gemma3_tiny").string(),
                    text = (search_inputs() / "eval.jsonl").string();
  REQUIRE(run_galapagos(
              1, {"database", "--model", gemma, "--calibration", text, "--levels", "3", "--sequence-length",
                  "64", "--calibration-tokens", "500", "--output", (folder / "gemma.h5").string()})
              .code == 0);
  refused({{"--model", gemma},
           {"--database", (folder / "gemma.h5").string()},
           {"--target-level", "-"},
           {"--target-sparsity", "0.5"}},
          "--start gradient");
  check_refused(all);
}
