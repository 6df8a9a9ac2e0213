#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/flip_byte.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::Ended;
using test::run_galapagos;
using test::search_inputs;
using test::search_words;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr double deadline = 60;  // after which a hang is a failure

void check_error(const Ended& ended, int code, const std::string& reason) {
  INFO("'" << reason << "' expected: " << ended.code << ' ' << ended.errors);
  CHECK(ended.code == code);
  CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
  CHECK(ended.errors.find(reason) != std::string::npos);
}

fs::path damaged(const fs::path& folder, const std::string& module) {
  const fs::path path = folder / ("damaged_" + module.substr(0, 1) + module.substr(2) + ".h5");
  fs::copy_file(search_inputs() / "x.h5", path);
  test::flip_byte(path, "/modules/" + module + "/level_3/weight", 9);
  return path;
}

Words eval_words(const fs::path& model, int shards, Words more = {}) {
  Words words = {"eval",
                 "--model",
                 model.string(),
                 "--data",
                 (search_inputs() / "eval.jsonl").string(),
                 "--threads",
                 "1",
                 "--shards",
                 std::to_string(shards),
                 "--sequence-length",
                 "128"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// A copy of a model with NaN (bf16) as the last value of a tensor, which only the last shard reads.
fs::path with_nan(const fs::path& folder, const std::string& tensor) {
  const fs::path copy = folder / "nan";
  fs::copy(test::data_file("models/llama3_tiny"), copy);
  const fs::path file = copy / "model.safetensors";
  std::string bytes = read_file(file);
  std::uint64_t length = 0;
  std::copy_n(bytes.begin(), sizeof length, reinterpret_cast<char*>(&length));
  const Json header = Json::parse(bytes.substr(sizeof length, length));
  const auto end = header.at(tensor).at("data_offsets").at(1).get<std::uint64_t>();
  bytes.replace(sizeof length + length + end - 2, 2, "\xff\x7f");
  test::write_text(file, bytes);
  return copy;
}

}  // namespace

TEST_CASE("a damaged level that shards of several replicas see is told once", "[failures]") {
  const test::TemporaryFolder folder;
  for (const std::string module : {"2/attn", "2/ffn"}) {  // one is checked by shard 1, one by shard 0
    const fs::path database = damaged(folder.path(), module);
    for (const std::string home : {"file", "host", "device"}) {
      const fs::path run = folder / (home + module.substr(2));
      check_error(
          run_galapagos(
              6, search_words(run, {{"--shards", "2"}, {"--database", database}, {"--level-cache", home}}),
              deadline),
          3, database.filename().string());
    }
  }
}

TEST_CASE("a damaged level is found by eval on any number of shards", "[failures]") {
  const test::TemporaryFolder folder;
  Words search = search_words(folder / "run", {{"--generations", "1"}, {"--islands", "1"}});
  CHECK(run_galapagos(1, search, deadline).code == 0);
  const std::string uniform = (folder / "run" / "uniform.txt").string();
  for (const std::string module : {"2/attn", "2/ffn"}) {
    const fs::path database = damaged(folder.path(), module);
    for (const int shards : {1, 2, 3}) {
      check_error(run_galapagos(shards,
                                eval_words(test::data_file("models/llama3_tiny"), shards,
                                           {"--database", database.string(), "--assignment", uniform}),
                                deadline),
                  3, database.filename().string());
    }
  }
}

TEST_CASE("NaN that one shard reads ends all", "[failures]") {
  const test::TemporaryFolder folder;
  const fs::path model = with_nan(folder.path(), "model.layers.1.mlp.up_proj.weight");
  for (const int shards : {2, 4})
    check_error(run_galapagos(4, eval_words(model, shards), deadline), 3, "holds NaN or infinity");
}

TEST_CASE("memory that one shard has not got ends all, wherever the limit is", "[failures]") {
  const test::TemporaryFolder folder;
  int refused = 0;
  for (const int kib : {300, 350, 380, 390, 400, 450, 600}) {  // three shards of four KV heads differ
    const Ended ended = run_galapagos(
        3,
        search_words(folder / std::to_string(kib),
                     {{"--shards", "3"}, {"--dry-run", ""}, {"--memory-limit", std::to_string(kib) + "K"}}),
        deadline);
    INFO(kib << " KiB: " << ended.errors);
    CHECK((ended.code == 0 || ended.code == 4));
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == (ended.code == 0 ? 0 : 1));
    CHECK(!fs::exists(folder / std::to_string(kib)));
    refused += ended.code == 4 ? 1 : 0;
  }
  CHECK(refused > 0);
  CHECK(refused < 7);
}

TEST_CASE("shards that do not fit the ranks are refused", "[failures]") {
  const test::TemporaryFolder folder;
  const auto refused = [&](int ranks, const std::string& shards, const std::string& reason) {
    check_error(run_galapagos(ranks, search_words(folder / "run", {{"--shards", shards}}), deadline), 2,
                reason);
    CHECK(!fs::exists(folder / "run"));
  };
  refused(3, "2", "3 ranks do not divide into replicas of 2 shards");
  refused(2, "3", "3 shards on 2 ranks");
  refused(2, "0", "0 shards on 2 ranks");
  check_error(run_galapagos(3, eval_words(test::data_file("models/llama3_tiny"), 2), deadline), 2,
              "do not divide");
}

TEST_CASE("more shards than KV heads, and any home of the levels", "[failures][.slow]") {
  const test::TemporaryFolder folder;
  std::string expected;
  for (const std::string home : {"file", "host", "device"}) {
    const fs::path run = folder / home;
    const Ended ended = run_galapagos(
        5, search_words(run, {{"--shards", "5"}, {"--level-cache", home}, {"--generations", "3"}}), deadline);
    INFO(ended.errors);
    CHECK(ended.code == 0);
    if (expected.empty()) expected = test::findings(run);
    CHECK(test::findings(run) == expected);
  }
}

TEST_CASE("memory that runs out on one shard in the middle of the work ends all", "[failures]") {
  const test::TemporaryFolder folder;
  const std::string model = test::data_file("models/tiny").string(),
                    text = test::data_file("text/tiny_calibration.jsonl").string(),
                    database = (folder / "x.h5").string();
  CHECK(run_galapagos(2, {"database", "--model", model, "--calibration", text, "--levels", "8",
                          "--calibration-tokens", "5000", "--output", database, "--threads", "1"})
            .code == 0);
  for (const std::size_t which : {1, 2, 3}) {  // followers and a leader
    const fs::path run = folder / std::to_string(which);
    const Words words = search_words(run, {{"--model", model},
                                           {"--database", database},
                                           {"--calibration", text},
                                           {"--calibration-tokens", "20000"},
                                           {"--tokens", "2000 4000"},
                                           {"--target-level", "4"},
                                           {"--islands", "2"},
                                           {"--generations", "1000"},
                                           {"--eval-data", "-"},
                                           {"--level-cache", "file"},
                                           {"--shards", "2"}});
    using Clock = std::chrono::steady_clock;
    std::optional<Clock::time_point> limited;
    bool stopped = false;
    const Ended ended = run_galapagos(4, words, 2 * deadline, [&] {
      if (!limited && test::generations_done(run) >= 1) {
        const rlimit nothing_more = {64 << 20, 64 << 20};
        ::prlimit(test::ranks_under(::getpid()).at(which), RLIMIT_AS, &nothing_more, nullptr);
        limited = Clock::now();
      }
      if (!limited) return false;
      // One that gets by with the memory it has is stopped.
      if (!stopped && Clock::now() - *limited > std::chrono::seconds(20)) {
        stopped = true;
        ::kill(test::children_of(::getpid()).at(0), SIGUSR2);
      }
      return std::chrono::duration<double>(Clock::now() - *limited).count() > deadline;
    });
    INFO("rank " << which << ": " << ended.code << ' ' << ended.errors);
    CHECK(limited);
    CHECK(ended.code != 0);
    CHECK(ended.code != 137);                                           // it has ended by itself
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") <= 1);  // none where MPI itself dies of it
  }
}
