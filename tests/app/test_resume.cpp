#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/odd_disk.hpp"
#include "support/process.hpp"
#include "support/skip.hpp"
#include "support/small_run.hpp"
#include "train_command.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/run_lock.hpp>

using namespace galapagos;
using test::count_lines;
using test::Ended;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr const char* complete = "is complete already";

std::string model() {
  return test::data_file("models/llama3_tiny").string();
}

std::string text() {
  return test::data_file("text/sample.jsonl").string();
}

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A command on `model`, with little text.
Words on_text(Words words, const fs::path& output) {
  return with(std::move(words),
              {"--calibration", text(), "--calibration-tokens", "2000", "--sequence-length", "128",
               "--batch-tokens", "128", "--threads", "1", "--output", output.string()});
}

/// A checksum of a file or of all files of a folder.
std::string content(const fs::path& path) {
  if (!fs::is_directory(path)) return hex64(Hash64().add(read_file(path)).value());
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::string all;
  for (const fs::path& file : files) all += file.string() + "\n" + read_file(file);
  return hex64(Hash64().add(all).value());
}

void expect(int ranks, const Words& words, int code, const std::string& said) {
  const Ended ended = run_galapagos(ranks, words);
  INFO(ended.errors);
  CHECK(ended.code == code);
  CHECK(ended.errors.find(said) != std::string::npos);
}

/// Runs a command whose root gets SIGUSR2 as soon as it has its lock.
void stop(int ranks, const Words& words, const fs::path& output, const std::string& said) {
  bool told = false;
  const Ended ended = run_galapagos(ranks, words, 120, [&] {
    if (told || !fs::exists(lock_path(output))) return false;
    told = true;
    ::kill(read_json(lock_path(output)).at("process").get<pid_t>(), SIGUSR2);
    return false;
  });
  INFO(ended.errors);
  CHECK(ended.code == 75);
  CHECK(ended.errors.find("the same command goes on") != std::string::npos);
  CHECK(ended.errors.find(said) != std::string::npos);
  CHECK(!fs::exists(lock_path(output)));
}

}  // namespace

TEST_CASE("the same command again goes on, ends at once, is refused or begins anew", "[resume]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "x.h5";
  struct Command {
    Words words, other;
    std::string difference;
  };
  const Command commands[] = {
      {on_text({"sensitivity", "--model", model(), "--checkpoint-tokens", "300"}, output),
       {"--seed", "5"},
       "--seed 0"},
      {on_text({"database", "--model", model(), "--levels", "4"}, output),
       {"--rel-damp", "0.1"},
       "--rel-damp 0.01"}};
  for (const Command& command : commands) {
    INFO(command.words.front());
    stop(2, command.words, output, "");
    CHECK(fs::exists(part_path(output)));
    expect(2, with(command.words, {"--resume", "no"}), 3, "already");
    expect(2, with(command.words, command.other), 3, command.difference);
    // With --fresh what is there is no matter; a plan removes nothing.
    expect(3, with(command.words, with(command.other, {"--fresh", "--dry-run"})), 0, "");
    stop(2, command.words, output, "goes on from");
    expect(3, with(command.words, {}), 0, "goes on from");
    const std::string found = content(output);
    for (const char* resume : {"auto", "yes"}) {
      expect(1, with(command.words, {"--resume", resume}), 0, complete);
      CHECK(content(output) == found);
    }
    expect(2, with(command.words, {"--resume", "no"}), 3, "already");
    expect(2, with(command.words, command.other), 3, command.difference);
    CHECK(content(output) == found);
    expect(2, with(command.words, with(command.other, {"--fresh"})), 0, "is complete: 8 modules");
    CHECK(content(output) != found);
    expect(2, command.words, 3, "--fresh");
    fs::remove(output);
    // Nothing but its own files are removed.
    test::write_text(output, "mine");
    expect(2, with(command.words, {"--fresh"}), 3, output.string());
    CHECK(read_file(output) == "mine");
    fs::remove(output);
    CHECK(fs::is_empty(folder.path()));
  }
}

TEST_CASE("a run's folder is gone on with, left alone or cleared", "[resume]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  stop(2, test::train_words(run), run, "");
  stop(3, test::train_words(run), run, "goes on from " + run.string() + ", update ");
  expect(2, test::train_words(run, {{"--seed", "9"}}), 3, "'seed' was 3 and is 9 now");
  expect(1, test::train_words(run), 0, "goes on from");
  const std::string found = content(run);
  expect(3, test::train_words(run), 0, complete);
  expect(2, test::train_words(run, {{"--tokens", "5000"}}), 3, "--fresh");
  CHECK(content(run) == found);
  // Foreign files beside a run's stay, among them they are named.
  test::write_text(run / "notes.txt", "mine");
  test::write_text(run / "model" / "model.gguf", "mine");
  expect(2, test::train_words(run, {{"--seed", "9"}, {"--fresh", ""}}), 3, "model.gguf");
  CHECK(fs::exists(run / "config.ini"));
  fs::remove(run / "model" / "model.gguf");
  expect(2, test::train_words(run, {{"--seed", "9"}, {"--fresh", ""}}), 0, "");
  CHECK(read_file(run / "notes.txt") == "mine");
  CHECK(content(run) != found);
  CHECK(!fs::exists(lock_path(run)));
  // Another command's.
  expect(1,
         {"distil", "--model", model(), "--reference", model(), "--data", text(), "--fresh", "--output",
          run.string()},
         3, "a run of 'galapagos train' is there");
}

TEST_CASE("an output in use is refused, one that a killed run has left is taken over", "[resume]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "x.h5";
  const Words words = on_text({"database", "--model", model(), "--levels", "4"}, output);
  Ended second;
  run_galapagos(2, words, 120, [&] {
    if (!fs::exists(lock_path(output))) return false;
    const std::vector<pid_t> ranks = test::ranks_under(::getpid());
    for (const pid_t rank : ranks) ::kill(rank, SIGSTOP);  // so that it is there for as long as this takes
    second = run_galapagos(1, words, 60);
    return true;  // killed
  });
  INFO(second.errors);
  CHECK(second.code == 3);
  CHECK(count_lines(second.errors, "in use by process ") == 1);
  CHECK(second.errors.find("delete " + lock_path(output).string()) != std::string::npos);
  CHECK(fs::exists(lock_path(output)));
  expect(2, words, 0, "has ended: taken over");
  CHECK(!fs::exists(lock_path(output)));
}

TEST_CASE("all phases work on file systems that lack something", "[file_systems][.slow]") {
  const std::string library = GALAPAGOS_ODD_DISK;
  if (library.empty()) return test::say_skipped("nothing is preloaded before the sanitizers");
  const std::pair<std::string, std::string> disks[] = {
      {"no folders synced", test::fault("folder", EINVAL)},
      {"no locks", test::fault("lock", ENOLCK) + " " + test::fault("link", EPERM)},
      {"locks are not there", test::fault("lock", ENOSYS)},
      {"no shared maps", test::fault("shared", ENODEV)},
      {"no maps", test::fault("map", ENODEV)}};
  for (const auto& [name, faults] : disks) {
    const test::TemporaryFolder folder;
    const fs::path own = folder / "model";
    fs::copy(model(), own, fs::copy_options::recursive);
    fs::copy(text(), folder / "text.jsonl");
    const test::OddDisk disk(folder.path(), faults);
    ::setenv("LD_PRELOAD", library.c_str(), 1);
    const auto path = [&](const char* file) { return (folder / file).string(); };
    const auto on_disk = [&](const Words& words, const char* output) {
      return with(words, {"--model", own.string(), "--sequence-length", "64", "--batch-tokens", "256",
                          "--threads", "1", "--output", path(output)});
    };
    const Words calibration = {"--calibration", path("text.jsonl"), "--calibration-tokens", "800"};
    const Words phases[] = {
        {"tokenize", "--tokenizer", own.string(), "--input", path("text.jsonl"), "--output", path("t.bin")},
        on_disk(with({"sensitivity"}, calibration), "s.h5"),
        on_disk(with({"database", "--levels", "3", "--sensitivity", path("s.h5")}, calibration), "x.h5"),
        {"assign", "--model", own.string(), "--database", path("x.h5"), "--target-sparsity", "0.5",
         "--output", path("a.txt")},
        on_disk(with({"search", "--database", path("x.h5"), "--target-sparsity", "0.5", "--generations", "1",
                      "--offspring", "2", "--survivors", "1", "--tokens", "128", "--compare-tokens", "128"},
                     {"--calibration", path("text.jsonl")}),
                "run"),
        {"stitch", "--model", own.string(), "--database", path("x.h5"), "--assignment", path("a.txt"),
         "--output", path("pruned")},
        on_disk({"train", "--data", path("text.jsonl"), "--tokens", "600", "--step-tokens", "300"},
                "trained"),
        {"eval", "--model", path("pruned"), "--data", path("text.jsonl"), "--sequence-length", "64"},
        {"info", path("x.h5")}};
    for (const Words& phase : phases) {
      const Ended ended = run_galapagos(phase.front() == "train" ? 1 : 2, phase);
      INFO(name << ", " << phase.front() << ": " << ended.errors);
      CHECK(ended.code == 0);
    }
    ::unsetenv("LD_PRELOAD");
  }
}
