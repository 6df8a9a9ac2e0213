#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

#include <cmath>
#include <csignal>
#include <sstream>
#include <unistd.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::Ended;
using test::findings;
using test::run_galapagos;
using test::search_words;

namespace {

namespace fs = std::filesystem;
using Change = std::map<std::string, std::string>;

bool near(const Json& a, const Json& b, double tolerance) {
  if (a.is_number_float() && b.is_number_float()) {
    const double x = a.get<double>(), y = b.get<double>();
    return std::abs(x - y) <= tolerance * std::max(1.0, std::abs(y));
  }
  if (a.type() != b.type() || a.size() != b.size()) return false;
  if (a.is_array()) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!near(a[i], b[i], tolerance)) return false;
    }
    return true;
  }
  if (!a.is_object()) return a == b;
  for (const auto& [key, value] : a.items()) {
    if (!b.contains(key) || !near(value, b.at(key), tolerance)) return false;
  }
  return true;
}

// A line of migrations.csv or best.txt.
Json fields_of(const std::string& line) {
  Json fields = Json::array();
  std::istringstream words(line);
  for (std::string word; std::getline(words, word, ',');) {
    const bool fitness = word.find('.') != std::string::npos && word.find(':') == std::string::npos;
    fields.push_back(fitness ? Json(std::stod(word)) : Json(word));
  }
  return fields;
}

// The findings of two searches are the same but for the rounding of losses.
void check_near(const fs::path& run, const fs::path& expected, double tolerance) {
  std::istringstream found(findings(run)), wanted(findings(expected));
  std::string a, b;
  while (std::getline(wanted, b)) {
    const bool more = static_cast<bool>(std::getline(found, a));
    CHECK(more);
    if (!more) return;
    if (b.starts_with('{')) {
      INFO(a << '\n' << b);
      CHECK(near(Json::parse(a), Json::parse(b), tolerance));
    } else {
      CHECK(near(fields_of(a), fields_of(b), tolerance));
    }
  }
  CHECK(!std::getline(found, a));
}

void check_run(int ranks, int shards, const fs::path& run, Change change) {
  change["--shards"] = std::to_string(shards);
  const Ended ended = run_galapagos(ranks, search_words(run, change));
  INFO(ranks << " ranks, " << shards << " shards: " << ended.errors);
  CHECK(ended.code == 0);
  CHECK(test::count_lines(ended.errors, "error") == 0);
}

// Runs on one rank, on `shards` ranks, and on `ranks` ranks, which take part in an island together or have
// several.
void check_shards(const fs::path& folder, const Change& change, double tolerance,
                  const std::vector<std::pair<int, int>>& shards_and_ranks) {
  const fs::path whole = folder / "whole";
  check_run(1, 1, whole, change);
  for (const auto& [shards, ranks] : shards_and_ranks) {
    const fs::path alone = folder / ("alone" + std::to_string(shards)),
                   together = folder / ("together" + std::to_string(shards));
    if (shards > 1) {
      check_run(shards, shards, alone, change);
      check_near(alone, whole, tolerance);
    }
    check_run(ranks, shards, together, change);
    INFO(shards << " shards on " << ranks << " ranks");
    CHECK(findings(together) == findings(shards > 1 ? alone : whole));
    CHECK(read_json(together / "manifest.json").at("ranks") == ranks);
  }
}

// Runs a search and, once it has done so many generations, calls `act` once.
Ended run_and_act(int ranks, const fs::path& run, const Change& change, int generations,
                  const std::function<void()>& act) {
  bool acted = false;
  return run_galapagos(ranks, search_words(run, change), 60, [&] {
    if (!acted && test::generations_done(run) >= generations) {
      acted = true;
      act();
    }
    return false;
  });
}

}  // namespace

TEST_CASE("a search finds the same on any number of shards and ranks", "[shards]") {
  const test::TemporaryFolder folder;
  // Two islands: of 8, 5 and 4 replicas each island has several, of 2 and 3 one or two.
  const Change two = {{"--islands", "2"}, {"--generations", "4"}};
  check_shards(folder / "kl", two, 1e-5, {{1, 16}, {2, 16}, {3, 15}, {4, 16}});
  Change other = two;
  other["--fitness"] = "sparse_kl";
  other["--kl-topk"] = "20";
  check_shards(folder / "sparse_kl", other, 1e-5, {{2, 8}, {3, 9}});
  other = {{"--fitness", "tv"}, {"--generations", "3"}};
  check_shards(folder / "tv", other, 1e-5, {{2, 4}});
  other = {{"--fitness", "ppl"}, {"--generations", "3"}};
  check_shards(folder / "ppl", other, 1e-4, {{2, 4}});
}

TEST_CASE("a search that trains its candidates finds the same on any number of shards and ranks",
          "[shards][.slow]") {
  const test::TemporaryFolder folder;
  Change change = {
      {"--islands", "2"}, {"--generations", "3"}, {"--training-tokens", "0 100"}, {"--precision", "fp32"}};
  check_shards(folder / "kl", change, 1e-4, {{1, 3}, {2, 8}, {3, 6}, {4, 8}});
  change["--fitness"] = "sparse_kl";
  change["--reference-finetuning"] = "";
  check_shards(folder / "sparse_kl", change, 1e-4, {{2, 6}});
}

TEST_CASE("a search on shards that is stopped goes on to the same end, also on other shards", "[shards]") {
  const test::TemporaryFolder folder;
  const Change four = {{"--islands", "4"}, {"--generations", "6"}};
  check_run(1, 1, folder / "whole", four);
  const auto resume = [&](const fs::path& run, int ranks, int shards) {
    Change change = four;
    change["--resume"] = "";
    check_run(ranks, shards, run, change);
    check_near(run, folder / "whole", 1e-5);
  };
  // To the launcher, which passes it on to all ranks; to a single rank that leads its replica or follows.
  const auto stop = [&](const std::string& name, int ranks, int shards, int signal,
                        const std::function<pid_t()>& whom) {
    const fs::path run = folder / name;
    Change change = four;
    change["--shards"] = std::to_string(shards);
    change["--generations"] = "2000";  // so that it cannot be over before
    const Ended ended = run_and_act(ranks, run, change, 2, [&] { ::kill(whom(), signal); });
    INFO(name << ": " << ended.errors);
    CHECK(ended.code == 75);
    CHECK(test::count_lines(ended.errors, "galapagos: stopped by a signal in generation") == 1);
    CHECK(test::count_lines(ended.errors, "error") == 0);
    CHECK(test::count_lines(ended.errors, "seconds by phase and rank") == 1);
  };
  const auto launcher = [] { return test::children_of(::getpid()).at(0); };
  const auto rank = [](std::size_t which) { return [=] { return test::ranks_under(::getpid()).at(which); }; };
  stop("all", 4, 2, SIGUSR2, launcher);
  stop("leader", 4, 2, SIGTERM, rank(2));
  stop("follower", 6, 3, SIGTERM, rank(4));
  // A search goes on to no fewer generations than it has done; so this one is short.
  Change limited = four;
  limited["--shards"] = "2";
  limited["--max-walltime"] = "1";
  const Ended ended = run_galapagos(4, search_words(folder / "limited", limited));
  INFO(ended.errors);
  CHECK((ended.code == 75 || ended.code == 0));
  if (ended.code == 75) CHECK(test::count_lines(ended.errors, "galapagos: stopped by --max-walltime") == 1);
  resume(folder / "limited", 3, 3);
  Change part = four;
  part["--generations"] = "3";
  part["--eval-every"] = "3";
  check_run(4, 2, folder / "part", part);
  resume(folder / "part", 1, 1);
}
