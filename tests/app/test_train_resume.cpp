#include "support/catch.hpp"
#include "support/small_disk.hpp"
#include "train_command.hpp"

#include <csignal>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::Ended;
using test::run_galapagos;
using test::saved_updates;
using test::train;
using test::train_findings;
using test::train_words;

namespace {

namespace fs = std::filesystem;

bool begun(const fs::path& run) {
  return fs::exists(run / "checkpoint.h5") || fs::exists(run / "checkpoint.previous.h5");
}

// A long training that is saved after every update, so that it can be met at any of them.
test::TrainChange often(test::TrainChange change = {}) {
  change.merge(test::TrainChange{{"--checkpoint-every", "1"}, {"--tokens", "12000"}});
  return change;
}

test::TrainChange resumed(test::TrainChange change) {
  change["--resume"] = "";
  return change;
}

// Runs a training and, once so many updates are saved, calls `act` once.
template <typename Act>
Ended run_and_act(int ranks, const std::vector<std::string>& words, const fs::path& run, int updates,
                  Act&& act) {
  bool acted = false;
  return run_galapagos(ranks, words, 120, [&] {
    if (!acted && saved_updates(run) >= updates) {
      acted = true;
      act();
    }
    return false;
  });
}

}  // namespace

TEST_CASE("signals stop a training in an orderly way, or only have it saved", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const fs::path whole = folder / ("whole" + std::to_string(ranks));
    train(ranks, whole, often());
    // SIGUSR2 to the launcher, which passes it on to all ranks; SIGTERM to one rank only, as it can happen.
    for (const int signal : {SIGUSR2, SIGTERM}) {
      const fs::path run = folder / (std::to_string(signal) + "on" + std::to_string(ranks));
      const Ended stopped = run_and_act(ranks, train_words(run, often()), run, 2, [&] {
        const std::vector<pid_t> launcher = test::children_of(::getpid()),
                                 all = test::ranks_under(::getpid());
        REQUIRE(launcher.size() == 1);
        REQUIRE(all.size() == static_cast<std::size_t>(ranks));
        ::kill(signal == SIGUSR2 ? launcher.front() : all.back(), signal);
      });
      INFO(ranks << " ranks, signal " << signal << ": " << stopped.errors);
      CHECK(stopped.code == 75);
      CHECK(test::count_lines(stopped.errors, "galapagos: stopped after update") == 1);
      CHECK(test::count_lines(stopped.errors, "error") == 0);
      CHECK(!fs::exists(run / "model"));
      train(ranks, run, resumed(often()));
      CHECK(train_findings(run) == train_findings(whole));
    }
  }
}

TEST_CASE("SIGUSR1 has a training saved, which goes on", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    // Nothing else saves it before its end, whose checkpoint is not the one that is seen first.
    const test::TrainChange seldom = {
        {"--checkpoint-every", "100000"}, {"--tokens", "30000"}, {"--eval-every", "0"}};
    const fs::path run = folder / ("run" + std::to_string(ranks)),
                   whole = folder / ("whole" + std::to_string(ranks));
    bool asked = false;
    std::int64_t seen = -1;
    const Ended ended = run_galapagos(ranks, train_words(run, seldom), 120, [&] {
      if (!asked && fs::exists(run / "metrics.jsonl")) {  // the training has begun
        asked = true;
        ::kill(test::children_of(::getpid()).front(), SIGUSR1);
      }
      if (seen < 0) seen = saved_updates(run);
      return false;
    });
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(test::count_lines(ended.errors, "as asked for by SIGUSR1") == 1);
    train(ranks, whole, seldom);
    CHECK(train_findings(run) == train_findings(whole));
    CHECK(seen >= 0);
    CHECK(seen < saved_updates(run));
  }
}

TEST_CASE("a training goes on over time limits to the same end", "[train]") {
  const test::TemporaryFolder folder;
  const test::TrainChange longer = {
      {"--tokens", "30000"}, {"--checkpoint-every", "0"}, {"--eval-every", "20"}};
  train(2, folder / "whole", longer);
  int stops = 0;
  for (int seconds = 1; seconds < 60; ++seconds) {  // more and more time, on however slow a machine
    test::TrainChange options = longer;
    options["--max-walltime"] = std::to_string(seconds);
    if (begun(folder / "run")) options["--resume"] = "";
    const Ended ended = run_galapagos(2, train_words(folder / "run", options));
    INFO(ended.errors);
    if (ended.code == 0) break;
    REQUIRE(ended.code == 75);
    ++stops;
  }
  std::cout << "stopped " << stops << " times by the time limit\n";
  CHECK(train_findings(folder / "run") == train_findings(folder / "whole"));
}

TEST_CASE("a training killed at any moment can be resumed and ends the same", "[train][.slow]") {
  const test::TemporaryFolder folder;
  std::map<int, std::string> expected;
  for (const int ranks : {1, 3}) {
    const fs::path whole = folder / ("whole" + std::to_string(ranks));
    train(ranks, whole);
    expected[ranks] = train_findings(whole);
  }
  std::multiset<std::int64_t> seen;
  int number = 0;
  const auto kill_and_resume = [&](int ranks, const std::function<bool(const fs::path&)>& until) {
    const fs::path run = folder / ("killed" + std::to_string(number++));
    run_galapagos(ranks, train_words(run), 60, [&] { return until(run); });
    seen.insert(saved_updates(run));
    if (fs::exists(run / "manifest.json")) return;  // it was quicker
    // A run that was killed before its first checkpoint is begun anew.
    const Ended ended = run_galapagos(ranks, train_words(run, {{"--resume", begun(run) ? "" : "-"}}));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    CHECK(train_findings(run) == expected[ranks]);
  };
  for (const int ranks : {1, 3}) {
    kill_and_resume(ranks, [](const fs::path& run) { return fs::exists(run / "metrics.jsonl"); });
    for (const int updates : {3, 9})
      kill_and_resume(ranks, [=](const fs::path& run) { return saved_updates(run) >= updates; });
    kill_and_resume(ranks, [](const fs::path& run) {
      return saved_updates(run) >= 3 && fs::exists(part_path(run / "checkpoint.h5"));
    });
    kill_and_resume(ranks, [](const fs::path& run) { return fs::exists(part_path(run / "model")); });
  }
  kill_and_resume(3, [](const fs::path& run) { return fs::exists(run / "config.ini"); });
  kill_and_resume(1, [](const fs::path& run) { return fs::exists(part_path(run / "checkpoint.h5")); });
  kill_and_resume(3, [](const fs::path& run) { return fs::exists(run / "model"); });
  std::cout << "killed with this many updates saved:";
  for (const std::int64_t updates : seen) std::cout << ' ' << updates;
  std::cout << '\n';
  CHECK(std::set<std::int64_t>(seen.begin(), seen.end()).size() > 2);
}

TEST_CASE("the end of one rank ends a training on all", "[train]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  train(3, folder / "whole", often());
  const Ended ended = run_and_act(3, train_words(run, often()), run, 2, [] {
    const std::vector<pid_t> all = test::ranks_under(::getpid());
    REQUIRE(all.size() == 3);
    ::kill(all[1], SIGKILL);
  });
  CHECK(ended.code == 128 + SIGKILL);  // of the rank; had it hung, the whole job would have been killed
  CHECK(test::count_lines(ended.errors, "signal 9") == 1);
  CHECK(!fs::exists(run / "manifest.json"));
  train(3, run, resumed(often()));
  CHECK(train_findings(run) == train_findings(folder / "whole"));
}

TEST_CASE("a loss that is no number ends a training, and its last checkpoint stays", "[train]") {
  const test::TemporaryFolder folder;
  // Weights grow a million times with every update.
  const test::TrainChange diverging = often({{"--learning-rate", "1000"},
                                             {"--weight-decay", "1000"},
                                             {"--warmup", "0"},
                                             {"--eval-data", "-"},
                                             {"--precision", "fp32"}});
  for (const int ranks : {1, 3}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    const Ended ended = run_galapagos(ranks, train_words(run, diverging));
    INFO(ended.errors);
    CHECK(ended.code == 5);
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
    const std::int64_t saved = saved_updates(run);
    REQUIRE(saved > 0);
    CHECK(test::count_lines(ended.errors, "at update " + std::to_string(saved + 1)) == 1);
    CHECK(test::count_lines(ended.errors, "the last checkpoint is kept") == 1);
    const std::vector<Json> updates = test::train_updates(run);
    CHECK(updates.size() == static_cast<std::size_t>(saved));
    for (const Json& update : updates) CHECK(update.at("loss").is_number());
    CHECK(!fs::exists(part_path(run / "checkpoint.h5")));
    CHECK(!fs::exists(run / "model"));
    // It goes on from there, to the same end.
    const std::string before = test::train_metrics(run);
    const Ended again = run_galapagos(ranks, train_words(run, resumed(diverging)));
    CHECK(again.code == 5);
    CHECK(test::count_lines(again.errors, "at update " + std::to_string(saved + 1)) == 1);
    CHECK(test::train_metrics(run) == before);
  }
  // Also where it is the last update that ruins the weights, so that no loss is computed from them.
  const fs::path last = folder / "last";
  test::TrainChange once = diverging;
  once["--tokens"] = "500";
  once["--precision"] = "fp16";
  once["--eval-data"] = (test::train_inputs() / "eval.jsonl").string();
  const Ended ended = run_galapagos(2, train_words(last, once));
  CHECK(ended.code == 5);
  CHECK(!fs::exists(last / "model"));
}

TEST_CASE("a training whose disk fills up goes on once there is room", "[train][.slow]") {
  const test::TemporaryFolder folder;
  const test::SmallDisk disk(folder / "disk", "size=32m");
  if (!disk.mounted()) return;
  const fs::path run = folder / "disk" / "run", filler = folder / "disk" / "filler";
  for (const int ranks : {1, 3}) {
    train(ranks, run);
    const std::string expected = train_findings(run);
    struct stat status {};
    REQUIRE(::stat((run / "checkpoint.h5").c_str(), &status) == 0);
    const auto checkpoint = static_cast<std::uint64_t>(status.st_blocks) * 512;
    fs::remove_all(run);
    const auto fails = [&](std::uint64_t left, const test::TrainChange& change) {
      test::fill_but(filler, left);
      const Ended full = run_galapagos(ranks, train_words(run, change));
      fs::remove(filler);
      INFO(ranks << " ranks, " << left << " bytes free: " << full.errors);
      CHECK(full.code == 4);
      CHECK(test::count_lines(full.errors, "galapagos: error: ") == 1);
      CHECK(test::count_lines(full.errors, "free space") == 1);
      CHECK(!fs::exists(run / "manifest.json"));
    };
    // In the first checkpoint, in the second one, and after the last one in the model with no room for its
    // weights, and with room for these but not for its tokenizer.
    fails(checkpoint / 2, {});
    CHECK(!begun(run));
    fails(checkpoint + checkpoint / 2, {});
    CHECK(saved_updates(run) == 3);
    train(ranks, run, resumed({}));
    CHECK(train_findings(run) == expected);
    fs::remove_all(run);
    fails(checkpoint + 300000, {{"--checkpoint-every", "100000"}});
    CHECK(saved_updates(run) > 3);
    CHECK(!fs::exists(run / "model"));
    train(ranks, run, resumed({}));
    CHECK(train_findings(run) == expected);
    fs::remove_all(run);
    fails(checkpoint + 690000, {{"--checkpoint-every", "100000"}});
    CHECK(!fs::exists(run / "model"));
    train(ranks, run, resumed({}));
    CHECK(train_findings(run) == expected);
    fs::remove_all(run);
    // Without checkpoints there is room enough where the model fits in; where not, it begins anew.
    fails(300000, {{"--checkpoint-every", "0"}});
    CHECK(!begun(run));
    CHECK(!fs::exists(run / "model"));
    test::fill_but(filler, checkpoint);
    train(ranks, run, {{"--checkpoint-every", "0"}});
    fs::remove(filler);
    CHECK(!begun(run));
    CHECK(train_findings(run) == expected);
    fs::remove_all(run);
  }
}
