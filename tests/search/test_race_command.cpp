#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <map>
#include <set>
#include <sstream>

#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::check_refused;
using test::content;
using test::count_lines;
using test::Ended;
using test::Refusal;
using test::run_galapagos;
using test::search_inputs;
using test::search_words;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Change = std::map<std::string, std::string>;

Words words_of(const fs::path& output, Change change = {}) {
  change.try_emplace("--strategy", "racing");
  change.try_emplace("--database", (search_inputs() / "s.h5").string());
  change.try_emplace("--block-tokens", "200");
  change.try_emplace("--eval-every", "0");
  change.try_emplace("--offspring", "4");
  change.try_emplace("--islands", "3");
  change.try_emplace("--generations", "6");
  return search_words(output, change);
}

// Front and race alike; ranks tell of generations in any order.
std::string findings(const fs::path& run) {
  std::set<std::string> lines;
  const auto add = [&](const fs::path& file) {
    std::istringstream text(content(file));
    for (std::string line; std::getline(text, line);) {
      Json json = Json::parse(line, nullptr, false);
      if (json.is_object()) {
        json.erase("elapsed");
        line = json.dump();
      }
      CHECK(lines.insert(file.filename().string() + ": " + line).second);
    }
  };
  for (const char* name : {"archive.jsonl", "metrics.jsonl", "migrations.csv", "watched.csv"})
    add(run / name);
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  for (const char* name : {"best.txt", "best-0.2.txt", "best-0.35.txt", "best-0.5.txt", "front.csv"})
    all += content(run / name);
  return all;
}

}  // namespace

TEST_CASE("a race is the same on any number of ranks and leaves its archive", "[racing]") {
  const test::TemporaryFolder folder;
  std::string expected;
  for (const int ranks : {1, 2, 3, 5}) {
    const fs::path run = folder / std::to_string(ranks);
    const Ended ended = run_galapagos(ranks, words_of(run));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    if (ranks == 1) expected = findings(run);
    CHECK(findings(run) == expected);
    const Json manifest = read_json(run / "manifest.json");
    CHECK(manifest.at("strategy") == "racing");
    CHECK(manifest.at("evaluations") == count_lines(content(run / "archive.jsonl"), "\"sums\""));
    CHECK(count_lines(content(run / "metrics.jsonl"), "\"challengers\"") == 18);
    CHECK(count_lines(content(run / "migrations.csv"), ",") > 3);
    // Once more: it is complete.
    const Ended again = run_galapagos(ranks, words_of(run));
    CHECK(again.code == 0);
    CHECK(count_lines(again.errors, "complete already") == 1);
  }
  // Without end losses, by an exact level, on shards: the same course but for rounding.
  Change plain = {
      {"--database", (search_inputs() / "x.h5").string()}, {"--precision", "fp32"}, {"--lag", "0"}};
  const fs::path whole = folder / "whole", sharded = folder / "sharded";
  REQUIRE(run_galapagos(1, words_of(whole, plain)).code == 0);
  plain["--shards"] = "2";
  const Ended ended = run_galapagos(4, words_of(sharded, plain));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  CHECK(read_json(sharded / "manifest.json").at("best").at("fitness").get<double>() ==
        Approx(read_json(whole / "manifest.json").at("best").at("fitness").get<double>()).epsilon(0.02));
}

TEST_CASE("a race that is killed at any moment goes on to the same end, also for longer", "[racing][.slow]") {
  const test::TemporaryFolder folder;
  REQUIRE(run_galapagos(2, words_of(folder / "whole")).code == 0);
  const std::string expected = findings(folder / "whole");
  int number = 0;
  for (const int trials : {1, 9, 30, 70}) {
    const fs::path run = folder / ("killed" + std::to_string(trials));
    run_galapagos(number % 3 + 1, words_of(run), 60,
                  [&] { return count_lines(content(run / "archive.jsonl"), "sums") >= trials; });
    if (trials == 9) {  // and while it wrote a line
      test::write_text(run / "archive.jsonl", content(run / "archive.jsonl") + "{\"generation\":3,\"isl");
      test::write_text(run / "metrics.jsonl", content(run / "metrics.jsonl") + "{\"generation\":3,\"isl");
    }
    ++number;
    const Ended ended = run_galapagos(number % 3 + 1, words_of(run));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(findings(run) == expected);
  }
  const Change longer = {{"--generations", "9"}};
  REQUIRE(run_galapagos(3, words_of(folder / "longer", longer)).code == 0);
  const Ended ended = run_galapagos(2, words_of(folder / "whole", longer));
  INFO(ended.errors);
  CHECK(ended.code == 0);
  CHECK(findings(folder / "whole") == findings(folder / "longer"));
  const Ended stopped =
      run_galapagos(2, words_of(folder / "limited", {{"--max-walltime", "1"}, {"--generations", "100000"}}));
  CHECK(stopped.code == 75);
  CHECK(count_lines(stopped.errors, "galapagos: stopped by --max-walltime") == 1);
  CHECK(count_lines(stopped.errors, "error") == 0);
}

TEST_CASE("incumbents are watched on what is held back, without influence", "[racing]") {
  const test::TemporaryFolder folder;
  const auto race_of = [](const fs::path& run) {
    std::string all = content(run / "best.txt") + content(run / "migrations.csv");
    std::istringstream lines(content(run / "archive.jsonl"));
    std::set<std::string> trials;
    for (std::string line; std::getline(lines, line);) trials.insert(line);
    for (const std::string& line : trials) all += line + "\n";
    return all;
  };
  const Change watched = {{"--eval-every", "2"}, {"--migrants", "1"}, {"--migration-interval", "100"}};
  Change unwatched = watched;
  unwatched["--eval-every"] = "0";
  REQUIRE(run_galapagos(2, words_of(folder / "unwatched", unwatched)).code == 0);
  CHECK(!fs::exists(folder / "unwatched" / "watched.csv"));
  std::string expected;
  for (const int ranks : {1, 2, 5}) {
    const fs::path run = folder / std::to_string(ranks);
    if (ranks == 2) {  // killed between
      run_galapagos(3, words_of(run, watched), 60,
                    [&] { return count_lines(content(run / "watched.csv"), ",") >= 3; });
    }
    const Ended ended = run_galapagos(ranks, words_of(run, watched));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    CHECK(race_of(run) == race_of(folder / "unwatched"));
    if (ranks == 1) expected = findings(run);
    CHECK(findings(run) == expected);
    CHECK(count_lines(content(run / "watched.csv"), ",") == 1 + 2 * 3);  // generations 2 and 4 of 6
    CHECK(count_lines(content(run / "watched.csv"), "generation,island,fitness,tokens") == 1);
    CHECK(count_lines(ended.errors, "--eval-every") == 0);
  }
}

TEST_CASE("a front has a best assignment for every size, the same after a kill", "[racing]") {
  const test::TemporaryFolder folder;
  Change front = {{"--target-level", "-"},
                  {"--targets", "0.5 0.2 0.35"},
                  {"--islands", "1"},
                  {"--generations", "8"},
                  {"--migration-interval", "1"}};
  std::string expected;
  for (const int ranks : {2, 4}) {
    const fs::path run = folder / std::to_string(ranks);
    if (ranks == 4) {
      run_galapagos(3, words_of(run, front), 60,
                    [&] { return count_lines(content(run / "archive.jsonl"), "sums") >= 30; });
    }
    const Ended ended = run_galapagos(ranks, words_of(run, front));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    if (ranks == 2) expected = findings(run);
    CHECK(findings(run) == expected);
    CHECK(!fs::exists(run / "best.txt"));
    const Json manifest = read_json(run / "manifest.json");
    REQUIRE(manifest.at("front").size() == 3);
    double before = 0;
    std::int64_t larger = INT64_MAX;
    for (const Json& point : manifest["front"]) {
      CHECK(point.at("fitness") >= before);
      CHECK(point.at("parameters") < larger);
      before = point["fitness"].get<double>();
      larger = point["parameters"].get<std::int64_t>();
      CHECK(point.at("perplexity").size() == 1);
      const Ended shown = run_galapagos(
          1, {"stitch", "--model", test::data_file("models/llama3_tiny").string(), "--database",
              (search_inputs() / "s.h5").string(), "--assignment",
              (run / point.at("file").get<std::string>()).string(), "--output",
              (folder / ("model" + point.at("file").get<std::string>() + std::to_string(ranks))).string()});
      INFO(shown.errors);
      CHECK(shown.code == 0);
    }
    CHECK(count_lines(content(run / "front.csv"), ",") == 4);
  }
  // Levels learned for all sizes, without a race; and with one.
  front["--start"] = "gradient";
  front["--gradient-steps"] = "12";
  front["--gradient-tokens"] = "1500";
  front["--targets"] = "0.2:0.5:0.15";
  Change alone = front;
  alone["--strategy"] = "sensitivity";
  for (const Change& change : {alone, front}) {
    const std::string name = change.contains("--strategy") ? "alone" : "raced";
    const Ended ended = run_galapagos(2, words_of(folder / name, change));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(count_lines(ended.errors, "levels learned by gradient for a sparsity of") == 3);
    const Json levels = parse_json(content(folder / name / "levels.json"), "levels.json");
    REQUIRE(levels.size() == 3);
    for (const Json& of_size : levels) CHECK(of_size.at("step") == 6);
    // Killed while it learned.
    const fs::path run = folder / (name + "killed");
    const auto learned = [&] { return Json::parse(content(run / "levels.json"), nullptr, false); };
    run_galapagos(1, words_of(run, change), 60, [&] { return learned().size() == 2; });
    CHECK(run_galapagos(3, words_of(run, change)).code == 0);
    CHECK(findings(run) == findings(folder / name));
  }
  // Each model holds the smaller ones.
  Change inside = front;
  inside["--start"] = "auto";
  inside["--nested"] = "";
  const Ended ended = run_galapagos(2, words_of(folder / "nested", inside));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  CHECK(count_lines(ended.errors, "nested") == 3);
  std::vector<std::vector<int>> chain;
  for (const char* size : {"0.2", "0.35", "0.5"}) {
    std::istringstream words(content(folder / "nested" / (std::string("best-") + size + ".txt")));
    chain.emplace_back();
    std::string module;
    for (int level = 0; words >> module >> level;) chain.back().push_back(level);
    REQUIRE(chain.back().size() > 0);
    REQUIRE(chain.back().size() == chain.front().size());
  }
  for (std::size_t k = 1; k < chain.size(); ++k)
    for (std::size_t i = 0; i < chain[k].size(); ++i) CHECK(chain[k - 1][i] <= chain[k][i]);
}

TEST_CASE("a race or a front that cannot be is refused", "[racing]") {
  const test::TemporaryFolder folder;
  std::vector<Refusal> all;
  const auto refused = [&](const Change& change, const std::string& reason, int code = 2) {
    all.push_back({[=, &folder](int ranks) { return words_of(folder / std::to_string(ranks), change); },
                   code,
                   reason,
                   {}});
  };
  refused({{"--training-tokens", "100 100"}}, "--training-tokens");
  refused({{"--training-tokens", "100"}, {"--tokens", "100"}, {"--survivors", "1"}}, "--training-tokens");
  refused({{"--block-tokens", "1"}}, "--block-tokens");
  refused({{"--block-tokens", "5000"}}, "--block-tokens");
  refused({{"--held-back", "1"}}, "--held-back");
  refused({{"--held-back", "-0.1"}}, "--held-back");
  refused({{"--lag", "-1"}}, "--lag");
  refused({{"--proposals", "2"}}, "--proposals");
  refused({{"--breeding", "mutation luck"}}, "\"luck\"");
  refused({{"--breeding", "parent"}}, "--breeding");
  refused({{"--nested", ""}}, "--nested");
  refused({{"--nested", ""}, {"--choices", "any.jsonl"}}, "--choices");
  const Change no_level = {{"--target-level", "-"}};
  const auto front = [&](const std::string& targets, Change change = {}) {
    change.insert({"--targets", targets});
    change.insert(no_level.begin(), no_level.end());
    return change;
  };
  for (const char* bad :
       {"0.5 0.5", "1.5", "0.2:0.5", "0.5:0.2:0.1", "0.1:0.9:1e-9", "half", "0.2,0.3", "-0.1"})
    refused(front(bad), "--target");
  refused(front("0.2 0.3", {{"--strategy", "evolution"}}), "--targets");
  refused({{"--targets", "0.2 0.3"}}, "--targets");  // beside a level
  refused(front("0.2 0.3", {{"--start", (search_inputs() / "x.h5").string()}}), "--start");
  check_refused(all);

  // An archive of another database, and one that is damaged.
  const fs::path run = folder / "run";
  REQUIRE(run_galapagos(2, words_of(run)).code == 0);
  const Ended other = run_galapagos(2, words_of(run, {{"--database", (search_inputs() / "x.h5").string()}}));
  CHECK(other.code == 3);
  CHECK(other.errors.find("belongs to another search") != std::string::npos);
  const std::string archive = content(run / "archive.jsonl");
  std::string damaged = archive;
  damaged.replace(damaged.find("\"block\":"), 9, "\"block\":7777");
  test::write_text(run / "archive.jsonl", damaged);
  const Ended ended = run_galapagos(2, words_of(run, {{"--generations", "8"}}));
  CHECK(ended.code == 3);
  CHECK(count_lines(ended.errors, "archive.jsonl") == 1);
}

TEST_CASE("a race goes on from what another one has measured", "[racing][.slow]") {
  const test::TemporaryFolder folder;
  const fs::path first = folder / "first", archive = first / "archive.jsonl";
  REQUIRE(run_galapagos(3, words_of(first)).code == 0);
  const auto measured = [](const fs::path& run, bool told) {
    std::multiset<std::pair<std::string, std::int64_t>> found;
    std::istringstream lines(content(run / "archive.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const Json json = parse_json(line, "archive.jsonl");
      if (json.contains("levels") && (json.at("generation") == 0) == told)
        found.emplace(json.at("levels").dump(), json.at("block").get<std::int64_t>());
    }
    return found;
  };
  const auto known = measured(first, false);
  // Another seed, number of islands and length, and a target of another kind.
  for (const char* target : {"--target-level", "--target-sparsity"}) {
    Change next = {{"--archive", archive.string()}, {"--seed", "17"},        {"--islands", "2"},
                   {"--generations", "5"},          {"--target-level", "-"}, {"--eval-data", "-"}};
    next[target] = target[9] == 'l' ? "3" : "0.4";
    std::string expected;
    for (const int ranks : {1, 2, 4}) {
      const fs::path run = folder / (target + std::to_string(ranks));
      if (ranks == 4) {  // killed on the way
        run_galapagos(3, words_of(run, next), 60,
                      [&] { return count_lines(content(run / "metrics.jsonl"), "\"challengers\"") >= 3; });
      }
      const Ended ended = run_galapagos(ranks, words_of(run, next));
      INFO(ended.errors);
      REQUIRE(ended.code == 0);
      if (ranks == 1) {
        expected = findings(run);
        CHECK(count_lines(ended.errors, "measurements are known from another race") == 1);
      }
      CHECK(findings(run) == expected);
      const auto here = measured(run, false), told = measured(run, true);
      for (const auto& one : here) CHECK(!known.contains(one));
      CHECK(std::set(told.begin(), told.end()) == std::set(known.begin(), known.end()));
      CHECK(read_json(run / "manifest.json").at("evaluations") == here.size());
      CHECK(!here.empty());
    }
    // The next one is told of both by the archive of this one.
    const fs::path last = folder / (target + std::string("last"));
    next["--archive"] = (folder / (target + std::string("1")) / "archive.jsonl").string();
    next["--seed"] = "18";
    REQUIRE(run_galapagos(2, words_of(last, next)).code == 0);
    CHECK(measured(last, true).size() == measured(folder / (target + std::string("1")), true).size() +
                                             measured(folder / (target + std::string("1")), false).size());
  }

  // Without the archive it was begun with, or with another one, it does not go on.
  const fs::path begun = folder / "--target-level1";
  Change next = {{"--seed", "17"}, {"--islands", "2"}, {"--generations", "7"}, {"--eval-data", "-"}};
  const auto stays = [&](const std::string& reason) {
    const Ended ended = run_galapagos(2, words_of(begun, next));
    CHECK(ended.code == 3);
    CHECK(count_lines(ended.errors, "galapagos: error:") == 1);
    CHECK(count_lines(ended.errors, reason) == 1);
  };
  stays("'archive' was");
  std::string fewer = content(archive);
  fewer.erase(fewer.rfind('\n', fewer.size() - 2) + 1);
  test::write_text(folder / "fewer.jsonl", fewer);
  next["--archive"] = (folder / "fewer.jsonl").string();
  stays("'archive' was");

  std::vector<Refusal> all;
  const auto refused = [&](Change change, const std::string& reason, int code = 3) {
    change.try_emplace("--archive", archive.string());
    all.push_back({[=, &folder](int ranks) { return words_of(folder / std::to_string(ranks), change); }, code,
                   reason, folder / "1"});
  };
  const auto damaged = [&](const std::string& name, const std::string& from, const std::string& to) {
    std::string text = content(archive);
    text.replace(text.find(from), from.size(), to);
    test::write_text(folder / name, text);
    return Change{{"--archive", (folder / name).string()}};
  };
  refused({{"--strategy", "evolution"}}, "--archive", 2);
  refused({{"--archive", (folder / "nowhere.jsonl").string()}}, "nowhere.jsonl");
  refused({{"--archive", (first / "metrics.jsonl").string()}}, "no archive of a race");
  refused({{"--archive", (first / "manifest.json").string()}}, "no archive of a race");
  refused({{"--fitness", "tv"}}, "another --fitness");
  refused({{"--block-tokens", "150"}}, "another --block-tokens");
  refused({{"--held-back", "0.5"}}, "another --held-back");
  refused({{"--calibration-tokens", "1900"}}, "another --calibration");
  refused({{"--sequence-length", "64"}}, "another --calibration");
  refused({{"--precision", "fp32"}}, "another --precision");
  refused(damaged("block", "\"block\":", "\"block\":77"), "line ");
  refused(damaged("levels", "\"levels\":[", "\"levels\":[1,"), "line 2 of the archive is damaged");
  refused(damaged("line", "\n{", "\n<"), "line 2 of the archive is damaged");
  refused(damaged("head", "\"archive\":1", "\"archive\":9"), "format 9");
  refused(damaged("seed", "\"blocks-seed\":", "\"blocks-seed\":-"), "first line is damaged");
  refused(damaged("database", "\"database\":\"", "\"database\":\"0"), "another --database");
  refused(damaged("model", "\"model\":\"", "\"model\":\"0"), "another --model");
  check_refused(all);
}
