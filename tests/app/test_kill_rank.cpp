#include "search/search_command.hpp"
#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/small_run.hpp"

#include <chrono>
#include <csignal>
#include <iostream>
#include <random>
#include <thread>
#include <unistd.h>

#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::Ended;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// When to kill a rank: some milliseconds after a moment of the run.
struct Moment {
  std::string name;
  std::function<bool()> reached;
  int delay = 0;  ///< milliseconds
};

// Kills rank `which` at a moment; the job has to end by itself, soon, with a message and nothing left. False
// where it was over before.
bool kill_rank(int ranks, const Words& words, std::size_t which, const Moment& moment) {
  std::optional<std::chrono::steady_clock::time_point> reached, killed;
  std::vector<pid_t> all;
  const Ended ended = run_galapagos(ranks, words, 150, [&] {
    if (killed) return seconds_since(*killed) > 60;
    all = test::ranks_under(::getpid());
    if (all.size() != static_cast<std::size_t>(ranks)) return false;
    if (!reached && moment.reached()) reached = std::chrono::steady_clock::now();
    if (reached && seconds_since(*reached) * 1000 >= moment.delay) {
      ::kill(all[which], SIGKILL);
      killed = std::chrono::steady_clock::now();
    }
    return false;
  });
  if (!killed || ended.code == 0) {
    CHECK(ended.code == 0);
    return false;
  }
  INFO("rank " << which << " killed, " << moment.name << " + " << moment.delay << " ms: " << ended.code << ' '
               << ended.errors);
  CHECK(seconds_since(*killed) < 60);
  CHECK(ended.code != 0);
  // As the launcher says, in words or, now and then, by its code alone.
  CHECK((ended.code == 128 + SIGKILL || ended.errors.find("signal 9") != std::string::npos));
  for (const pid_t one : all) {
    // The launcher is gone; what it has killed may take a moment more.
    const auto begin = std::chrono::steady_clock::now();
    while (::kill(one, 0) == 0 && seconds_since(begin) < 10)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(::kill(one, 0) != 0);
  }
  return true;
}

}  // namespace

TEST_CASE("a search on shards of which a rank is killed ends soon and can be resumed", "[kill_rank]") {
  const test::TemporaryFolder folder;
  const std::map<std::string, std::string> options = {
      {"--shards", "2"}, {"--islands", "2"}, {"--generations", "6"}, {"--training-tokens", "0 100"}};
  const fs::path whole = folder / "whole";
  REQUIRE(run_galapagos(4, test::search_words(whole, options)).code == 0);
  std::mt19937 random(11);
  int number = 0, killed = 0;
  const auto check = [&](std::size_t which, const std::function<Moment(const fs::path& run)>& when) {
    const fs::path run = folder / ("run" + std::to_string(number++));
    Moment moment = when(run);
    moment.delay += static_cast<int>(random() % 20);
    killed += kill_rank(4, test::search_words(run, options), which, moment) ? 1 : 0;
    const bool begun = fs::exists(run / "checkpoint.h5") || fs::exists(run / "checkpoint.previous.h5");
    auto again = options;
    again[begun ? "--resume" : "--seed"] = begun ? "" : "3";
    const Ended ended = run_galapagos(4, test::search_words(run, again));
    INFO(moment.name << ": " << ended.errors);
    CHECK(ended.code == 0);
    CHECK(test::findings(run) == test::findings(whole));
  };
  const auto start = [](const fs::path&) { return Moment{"reading", [] { return true; }}; };
  const auto folder_made = [](const fs::path& run) {  // then come the answers of the unpruned model
    return Moment{"answers", [=] { return fs::exists(run / "checkpoint.h5"); }};
  };
  const auto writing = [](const fs::path& run) {
    return Moment{"writing", [=] { return fs::exists(part_path(run / "checkpoint.h5")); }};
  };
  const auto after = [](int generations) {
    return [=](const fs::path& run) {
      return Moment{"generation " + std::to_string(generations),
                    [=] { return test::generations_done(run) >= generations; }, 5 * generations};
    };
  };
  for (const std::size_t which : {std::size_t{0}, std::size_t{3}}) check(which, start);
  check(2, folder_made);
  for (const std::size_t which : {std::size_t{0}, std::size_t{1}}) check(which, writing);
  for (const std::size_t which : {std::size_t{0}, std::size_t{1}, std::size_t{3}})
    check(which, after(1 + static_cast<int>(which)));
  std::cout << killed << " of " << number << " searches killed before their end\n";
  CHECK(killed > 4);
}

TEST_CASE("an evaluation on shards of which a rank is killed ends soon", "[kill_rank][.slow]") {
  Words words = {"eval",
                 "--model",
                 test::data_file("models/tiny").string(),
                 "--data",
                 test::data_file("text/tiny_calibration.jsonl").string(),
                 "--shards",
                 "2",
                 "--threads",
                 "1"};
  int killed = 0;
  for (std::size_t which = 1; which < 4; ++which) {
    const Moment moment{"eval", [] { return true; }, static_cast<int>(which) * 120};
    killed += kill_rank(4, words, which, moment) ? 1 : 0;
  }
  CHECK(killed > 1);
}

TEST_CASE("a training on shards of which a rank is killed ends soon and can be resumed",
          "[kill_rank][.slow]") {
  const test::TemporaryFolder folder;
  const auto words = [&](const fs::path& output, const Words& more = {}) {
    Words all = {"train",
                 "--model",
                 test::data_file("models/tiny").string(),
                 "--data",
                 test::data_file("text/tiny_heldout.jsonl").string(),
                 "--output",
                 output.string()};
    for (const char* word :
         {"--tokens", "8000", "--step-tokens", "500", "--sequence-length", "64", "--shards", "2",
          "--checkpoint-every", "2", "--precision", "fp32", "--threads", "1"})
      all.push_back(word);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto model_of = [](const fs::path& run) {
    return read_file(run / "model/model.safetensors", 64 << 20);
  };
  REQUIRE(run_galapagos(4, words(folder / "whole")).code == 0);
  int killed = 0;
  for (std::size_t which = 0; which < 4; ++which) {
    const fs::path run = folder / ("run" + std::to_string(which));
    // From the first checkpoint on: between two of them, or while one is written.
    const Moment moment{"training", [&] { return fs::exists(part_path(run / "checkpoint.h5")); },
                        static_cast<int>(which) * 40};
    killed += kill_rank(4, words(run), which, moment) ? 1 : 0;
    if (!fs::exists(run / "manifest.json")) {
      const bool begun = fs::exists(run / "checkpoint.h5") || fs::exists(run / "checkpoint.previous.h5");
      CHECK(run_galapagos(4, words(run, begun ? Words{"--resume"} : Words{})).code == 0);
    }
    CHECK(model_of(run) == model_of(folder / "whole"));
  }
  CHECK(killed > 1);
}

TEST_CASE("a database of which a rank is killed ends soon and can be resumed", "[kill_rank]") {
  const test::TemporaryFolder folder;
  const fs::path reference = folder / "reference.h5";
  const auto begin = std::chrono::steady_clock::now();
  REQUIRE(run_galapagos(3, test::database_words(reference)).code == 0);
  const double whole = seconds_since(begin);
  int killed = 0;
  for (std::size_t which = 0; which < 3; ++which) {
    for (const double share : {0.2, 0.6}) {
      const fs::path output = folder / (std::to_string(which) + std::to_string(share) + ".h5");
      const Moment moment{"database", [] { return true; }, static_cast<int>(1000 * share * whole)};
      killed += kill_rank(3, test::database_words(output), which, moment) ? 1 : 0;
      CHECK(run_galapagos(3, test::database_words(output, {"--resume"})).code == 0);
      CHECK(test::compare(reference, output).same_bits);
    }
  }
  CHECK(killed > 2);
}
