#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/flip_byte.hpp"
#include "support/phases.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <unistd.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/hdf5.hpp>

using namespace galapagos;
using test::check_refused;
using test::children_of;
using test::content;
using test::Ended;
using test::findings;
using test::generations_done;
using test::ranks_under;
using test::Refusal;
using test::run_galapagos;
using test::search_inputs;
using test::search_words;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// Runs a search and, once `run` has so many generations, calls `act` once.
template <typename Act>
Ended run_and_act(int ranks, const Words& words, const fs::path& run, int generations, Act&& act) {
  bool acted = false;
  return run_galapagos(ranks, words, 120, [&] {
    if (!acted && generations_done(run) >= generations) {
      acted = true;
      act();
    }
    return false;
  });
}

std::vector<Json> bill_of(const fs::path& run) {
  std::vector<Json> parts;
  std::ifstream file(run / "bill.jsonl");
  for (std::string line; std::getline(file, line);) parts.push_back(parse_json(line, "bill.jsonl"));
  return parts;
}

}  // namespace

TEST_CASE("a search finds the same on any number of ranks", "[search]") {
  const test::TemporaryFolder folder;
  std::string expected;
  for (const int ranks : {1, 2, 3, 4}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    // The home of the levels does not matter either.
    const std::string home =
        std::vector<std::string>{"auto", "file", "host", "device"}[static_cast<std::size_t>(ranks - 1)];
    const Ended ended = run_galapagos(ranks, search_words(run, {{"--level-cache", home}}));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    if (ranks == 1) expected = findings(run);
    CHECK(findings(run) == expected);
    CHECK(read_file(run / "uniform.txt") == read_file(folder / "run1" / "uniform.txt"));
    const Json manifest = read_json(run / "manifest.json");
    CHECK(manifest.at("ranks") == ranks);
    test::check_phases(manifest, {"reading", "evaluating the unpruned model", "evaluating", "building levels",
                                  "waiting", "writing", "other"});
    CHECK(test::count_lines(ended.errors, "seconds by phase and rank") == 1);
    CHECK(!fs::exists(part_path(run / "checkpoint.h5")));
  }
  // Four islands, seven generations, comparisons after 3, 6 and 7.
  CHECK(test::count_lines(expected, "\"evaluations\":") == 28);
  CHECK(test::count_lines(expected, "\"comparison\":") == 3);
  CHECK(test::count_lines(expected, "perplexity") == 3);
  CHECK(test::count_lines(read_file(folder / "run1" / "best.txt"), "down_proj: ") == 4);
  CHECK(test::count_lines(read_file(folder / "run1" / "best.txt"), "o_proj: ") == 4);
  const std::string migrations = read_file(folder / "run1" / "migrations.csv");
  CHECK(test::count_lines(migrations, ",") == 1 + 3 * 4 * 2);  // after 2, 4, 6: four edges, two each
  // The configuration that is left behind gives the same search.
  Words again = {"search", "--config", (folder / "run1" / "config.ini").string(), "--output",
                 (folder / "again").string()};
  CHECK(run_galapagos(1, again).code == 0);
  CHECK(findings(folder / "again") == expected);
  // A longer search begins like a shorter one; one that is over can be asked for its end again.
  CHECK(run_galapagos(3, search_words(folder / "run3", {{"--resume", ""}})).code == 0);
  CHECK(findings(folder / "run3") == expected);
  CHECK(run_galapagos(2, search_words(folder / "run2", {{"--resume", ""}, {"--generations", "8"}})).code ==
        0);
  CHECK(run_galapagos(1, search_words(folder / "eight", {{"--generations", "8"}})).code == 0);
  CHECK(test::count_lines(findings(folder / "run2"), "\"evaluations\":") == 32);
  CHECK(content(folder / "run2" / "best.txt") == content(folder / "eight" / "best.txt"));
  CHECK(content(folder / "run2" / "migrations.csv") == content(folder / "eight" / "migrations.csv"));
  // Nothing is written where only the plan is asked for.
  CHECK(run_galapagos(2, search_words(folder / "dry", {{"--dry-run", ""}})).code == 0);
  CHECK(!fs::exists(folder / "dry"));
}

// tests/data/before holds a run of version 0.1.0 (2d3c96438e91) after two generations, whose identity has
// numbers in place of names, and what its six generations found.
TEST_CASE("a search of the version before goes on", "[search]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  fs::copy(test::data_file("before/search"), run, fs::copy_options::recursive);
  const auto resume = [&](const std::string& topology) {
    return run_galapagos(1, {"search",
                             "--model",
                             test::data_file("models/qwen2_tiny").string(),
                             "--calibration",
                             test::data_file("text/sample.jsonl").string(),
                             "--sequence-length",
                             "64",
                             "--calibration-tokens",
                             "1024",
                             "--database",
                             test::data_file("before/database.h5").string(),
                             "--seed",
                             "3",
                             "--target-sparsity",
                             "0.5",
                             "--islands",
                             "2",
                             "--topology",
                             topology,
                             "--fitness",
                             "sparse_kl",
                             "--kl-topk",
                             "64",
                             "--migration-interval",
                             "2",
                             "--offspring",
                             "4",
                             "--survivors",
                             "2 1",
                             "--tokens",
                             "128 256",
                             "--generations",
                             "6",
                             "--output",
                             run.string(),
                             "--resume"});
  };
  const Ended refused = resume("ring");
  CHECK(refused.code == 3);
  CHECK(refused.errors.find(R"('topology' was "star" and is "ring" now)") != std::string::npos);
  CHECK(resume("star").code == 0);
  CHECK(generations_done(run) == 6);
  CHECK(content(run / "best.txt") == content(test::data_file("before/search_best.txt")));
}

TEST_CASE("other kinds of fitness, budget and strategy", "[search]") {
  const test::TemporaryFolder folder;
  const std::vector<std::map<std::string, std::string>> cases = {
      {{"--fitness", "ppl"}, {"--topology", "complete"}},
      {{"--fitness", "sparse_kl"},
       {"--kl-topk", "20"},
       {"--target-level", "-"},
       {"--target-sparsity", "0.5"}},
      {{"--fitness", "tv"}, {"--precision", "bf16"}},
      {{"--strategy", "random"},
       {"--topology", "random"},
       {"--target-level", "-"},
       {"--target-params", "200000"}},
      {{"--topology", "matrix"},
       {"--migrants", "0 1 0 0; 0 0 1 0; 0 0 0 1; 2 0 0 0"},
       {"--precision", "fp32"}},
      {{"--training-tokens", "0 200"}, {"--learning-rate", "1e-3"}},
      {{"--training-tokens", "50 100"},
       {"--training-data", (search_inputs() / "eval.jsonl").string()},
       {"--reference-finetuning", ""},
       {"--recompute", ""}}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    std::map<std::string, std::string> options = cases[i];
    options.merge(std::map<std::string, std::string>{{"--generations", "3"}});
    const fs::path alone = folder / ("alone" + std::to_string(i)),
                   together = folder / ("together" + std::to_string(i));
    CHECK(run_galapagos(1, search_words(alone, options)).code == 0);
    CHECK(run_galapagos(3, search_words(together, options)).code == 0);
    CHECK(findings(alone) == findings(together));
    const Json best = read_json(alone / "manifest.json").at("best");
    const auto parameters = best.at("parameters").get<std::int64_t>(),
               dense = best.at("dense_parameters").get<std::int64_t>();
    CHECK(parameters < dense);
    if (options.contains("--target-params")) CHECK(parameters <= 200000);
    if (options.contains("--target-sparsity"))
      CHECK(2 * (dense - parameters) >= 233984);  // the prunable ones
  }
}

TEST_CASE("a search that trains its candidates goes on to the same end, with the same training only",
          "[search]") {
  const test::TemporaryFolder folder;
  std::map<std::string, std::string> options = {{"--training-tokens", "0 200"}, {"--generations", "3"}};
  CHECK(run_galapagos(2, search_words(folder / "whole", options)).code == 0);
  options["--generations"] = "2";
  CHECK(run_galapagos(2, search_words(folder / "parts", options)).code == 0);
  options["--generations"] = "3";
  options["--resume"] = "";
  std::map<std::string, std::string> other = options;
  other["--learning-rate"] = "2e-5";
  const Ended refused = run_galapagos(1, search_words(folder / "parts", other));
  CHECK(refused.code == 3);
  CHECK(refused.errors.find("learning-rate") != std::string::npos);
  CHECK(run_galapagos(3, search_words(folder / "parts", options)).code == 0);
  CHECK(content(folder / "parts" / "best.txt") == content(folder / "whole" / "best.txt"));
  const auto islands =
      [](const std::string& findings) {  // without the comparison after the second generation
        std::istringstream lines(findings);
        std::string kept;
        for (std::string line; std::getline(lines, line);) {
          if (line.find("\"island\":") != std::string::npos) kept += line + "\n";
        }
        return kept;
      };
  CHECK(islands(findings(folder / "parts")) == islands(findings(folder / "whole")));
  CHECK(test::count_lines(findings(folder / "whole"), "\"training_tokens\":") == 12);
}

TEST_CASE("a search killed at any moment can be resumed and finds the same", "[search][.slow]") {
  const test::TemporaryFolder folder;
  REQUIRE(run_galapagos(2, search_words(folder / "whole")).code == 0);
  const std::string expected = findings(folder / "whole");
  std::multiset<int> seen;
  int number = 0;
  const auto kill_and_resume = [&](int ranks, const std::function<bool(const fs::path&)>& until) {
    const fs::path run = folder / ("killed" + std::to_string(number++));
    run_galapagos(ranks, search_words(run), 60, [&] { return until(run); });
    seen.insert(generations_done(run));
    // On another number of ranks than before.
    const Ended ended = run_galapagos(ranks % 3 + 1, search_words(run));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(findings(run) == expected);
  };
  kill_and_resume(2, [](const fs::path& run) { return fs::exists(run); });
  kill_and_resume(3, [](const fs::path& run) { return fs::exists(run / "checkpoint.h5"); });
  kill_and_resume(1, [](const fs::path& run) { return fs::exists(run / "metrics.jsonl"); });
  for (const int generations : {1, 3, 6}) {
    kill_and_resume(generations % 3 + 1,
                    [=](const fs::path& run) { return generations_done(run) >= generations; });
  }
  kill_and_resume(3, [](const fs::path& run) {
    return generations_done(run) >= 2 && fs::exists(part_path(run / "checkpoint.h5"));
  });
  kill_and_resume(1, [](const fs::path& run) {
    return test::count_lines(content(run / "metrics.jsonl"), "\"comparison\":") >= 2;
  });
  std::cout << "killed with this many generations done:";
  for (const int count : seen) std::cout << ' ' << count;
  std::cout << '\n';
  CHECK(std::set<int>(seen.begin(), seen.end()).size() > 3);
}

TEST_CASE("signals stop a search in an orderly way, or only have it saved", "[search]") {
  const test::TemporaryFolder folder;
  REQUIRE(run_galapagos(2, search_words(folder / "whole")).code == 0);
  const std::string expected = findings(folder / "whole");
  for (const int ranks : {1, 3}) {
    // SIGUSR2 to the launcher, which passes it on to all ranks; SIGTERM to one rank only, as it can happen.
    for (const int signal : {SIGUSR2, SIGTERM}) {
      const fs::path run = folder / (std::to_string(signal) + "on" + std::to_string(ranks));
      const Ended stopped = run_and_act(ranks, search_words(run), run, 2, [&] {
        const std::vector<pid_t> launcher = children_of(::getpid()), all = ranks_under(::getpid());
        REQUIRE(launcher.size() == 1);
        REQUIRE(all.size() == static_cast<std::size_t>(ranks));
        ::kill(signal == SIGUSR2 ? launcher.front() : all.back(), signal);
      });
      INFO(ranks << " ranks, signal " << signal << ": " << stopped.errors);
      CHECK(stopped.code == 75);
      CHECK(test::count_lines(stopped.errors, "galapagos: stopped by a signal in generation") == 1);
      CHECK(test::count_lines(stopped.errors, "error") == 0);
      CHECK(run_galapagos(4 - ranks, search_words(run, {{"--resume", ""}})).code == 0);
      CHECK(findings(run) == expected);
    }
    const fs::path run = folder / ("saved" + std::to_string(ranks));
    const Ended ended = run_and_act(ranks, search_words(run), run, 1,
                                    [&] { ::kill(children_of(::getpid()).front(), SIGUSR1); });
    CHECK(ended.code == 0);
    CHECK(test::count_lines(ended.errors, "as asked for by SIGUSR1") == 1);
    CHECK(findings(run) == expected);
  }
}

TEST_CASE("a search goes on over time limits to the same end", "[search]") {
  const test::TemporaryFolder folder;
  const std::map<std::string, std::string> longer = {
      {"--generations", "40"}, {"--eval-every", "7"}, {"--eval-data", "-"}};
  REQUIRE(run_galapagos(2, search_words(folder / "whole", longer)).code == 0);
  int stops = 0;
  for (int seconds = 1; seconds < 60; ++seconds) {  // more and more time, on however slow a machine
    std::map<std::string, std::string> options = longer;
    options["--max-walltime"] = std::to_string(seconds);
    const Ended ended = run_galapagos(1 + seconds % 3, search_words(folder / "run", options));
    INFO(ended.errors);
    if (ended.code == 0) break;
    REQUIRE(ended.code == 75);
    CHECK(test::count_lines(ended.errors, "galapagos: stopped by --max-walltime") == 1);
    ++stops;
  }
  std::cout << "stopped " << stops << " times by the time limit\n";
  CHECK(findings(folder / "run") == findings(folder / "whole"));

  // Each part has its line in the bill, the manifest that of the last one.
  const std::vector<Json> bill = bill_of(folder / "run");
  REQUIRE(bill.size() == static_cast<std::size_t>(stops) + 1);
  for (std::size_t part = 0; part < bill.size(); ++part) {
    CHECK(bill[part]["command"] == "search");
    CHECK(bill[part]["ended"] == (part + 1 < bill.size() ? "stopped" : "done"));
    CHECK(bill[part]["nodes"] == 1);
    CHECK(bill[part]["node_hours"].get<double>() > 0);
  }
  const Json manifest = parse_json(content(folder / "run" / "manifest.json"), "manifest");
  CHECK(manifest["bill"]["ranks"] == bill.back()["ranks"]);
  CHECK(manifest["bill"]["seconds"].get<double>() <= bill.back()["seconds"].get<double>());
}

TEST_CASE("a search with wrong options is refused", "[search]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "run";
  std::vector<Refusal> all;
  const auto refused = [&](const std::map<std::string, std::string>& change, int code,
                           const std::string& reason) {
    all.push_back({[=](int) { return search_words(output, change); }, code, reason, output});
  };
  refused({{"--target-level", "-"}}, 2, "0 targets");
  refused({{"--target-params", "200000"}}, 2, "2 targets");
  refused({{"--target-level", "7"}}, 2, "levels 0 to 6, not 7");
  refused({{"--target-level", "6"}}, 2, "nothing to choose");
  refused({{"--target-level", "-"}, {"--target-params", "1000"}}, 2, "98,368 to 332,352");
  refused({{"--target-level", "-"}, {"--target-sparsity", "1.5"}}, 2, "a sparsity of 1.5");
  refused({{"--survivors", "3 2 1"}}, 2, "3 stages of survivors, 2 of tokens");
  refused({{"--survivors", "3 2"}}, 2, "2 survivors of the last stage");
  refused({{"--tokens", "96 100000"}}, 2, "a stage of 100,000 tokens");
  refused({{"--compare-tokens", "100000"}}, 2, "100,000 tokens to compare");
  refused({{"--calibration-tokens", "100000000"}}, 3, "too short");
  refused({{"--islands", "0"}}, 2, "--islands");
  refused({{"--topology", "torus"}}, 2, "unknown topology 'torus'");
  refused({{"--topology", "matrix"}}, 2, "not 4 rows of 4 numbers");
  refused({{"--fitness", "accuracy"}}, 2, "unknown fitness 'accuracy'");
  refused({{"--strategy", "annealing"}}, 2, "unknown strategy 'annealing'");
  refused({{"--level-cache", "tape"}}, 2, "unknown level cache 'tape'");
  refused({{"--training-tokens", "100"}}, 2, "2 stages of tokens, 1 of training tokens");
  refused({{"--training-tokens", "0 -1"}}, 2, "-1 training tokens in stage 2");
  refused({{"--training-tokens", "0 3000"}}, 2, "trains on 3,000 tokens, but there are 2,000");
  refused({{"--training-tokens", "100 100"}, {"--learning-rate", "0"}}, 2, "--learning-rate");
  refused({{"--shards", "4"}}, 2, "4 shards on");
  check_refused(all);
  const Ended shards = run_galapagos(1, search_words(output, {{"--shards", "2"}}));
  CHECK(shards.code == 2);
  CHECK(test::count_lines(shards.errors, "galapagos: error: 2 shards on 1 ranks") == 1);
}

TEST_CASE("a search with wrong files is refused", "[search]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "run";
  std::vector<Refusal> all;
  const auto refused = [&](const std::map<std::string, std::string>& change, const std::string& reason) {
    all.push_back({[=](int) { return search_words(output, change); }, 3, reason, output});
  };
  refused({{"--resume", ""}}, "there is no search to go on with");
  refused({{"--model", test::data_file("models/llama2_tiny").string()}}, "made from another model");
  refused({{"--database", (folder / "none.h5").string()}}, "none.h5");
  {
    fs::copy_file(search_inputs() / "x.h5", folder / "unfinished.h5");
    Hdf5File file = Hdf5File::open_to_change(folder / "unfinished.h5");
    file.write_attribute("/", "complete", std::int64_t{0});
    file.close();
  }
  refused({{"--database", (folder / "unfinished.h5").string()}}, "the database is unfinished");
  test::write_text(folder / "file", "x");
  const fs::path taken = folder / "file" / "run", damaged = folder / "damaged.h5";
  all.push_back({[=](int) { return search_words(taken); }, 3, "cannot make the folder", {}});

  // A byte flipped in a level that every search at that level begins with: found wherever levels live.
  {
    fs::copy_file(search_inputs() / "x.h5", folder / "damaged.h5");
    test::flip_byte(folder / "damaged.h5", "/modules/2/ffn/level_3/weight", 9);
  }
  for (const std::string home : {"device", "host", "file"}) {
    const std::string run = (folder / ("of_" + home)).string();
    const auto words = [=](int ranks) {
      return search_words(run + std::to_string(ranks),
                          {{"--database", damaged.string()}, {"--level-cache", home}});
    };
    all.push_back({words, 3, "damaged.h5", {}});
  }
  check_refused(all);

  // A folder that holds a search already, and a checkpoint of another one.
  REQUIRE(run_galapagos(2, search_words(output, {{"--generations", "1"}})).code == 0);
  const std::string before = findings(output);
  all.clear();
  all.push_back({[=](int) {
                   return search_words(output, {{"--resume", "no"}});
                 },
                 3,
                 "there is a search already",
                 {}});
  const auto changed = [&](const std::string& option, const std::string& value, const std::string& reason) {
    all.push_back({[=](int) { return search_words(output, {{option, value}}); }, 3, reason, {}});
  };
  changed("--seed", "4", "'seed' was 3 and is 4 now");
  changed("--islands", "3", "'islands' was 4 and is 3 now");
  changed("--tokens", "96 161", "'tokens' was [96,160] and is [96,161] now");
  check_refused(all);
  CHECK(findings(output) == before);
}
