#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <sys/mount.h>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hdf5.hpp>

using namespace galapagos;
using test::Ended;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Change = std::map<std::string, std::string>;

std::string model(const std::string& name = "llama3_tiny") {
  return test::data_file("models/" + name).string();
}

// Text to train on and text to measure perplexity on, made once; small models know fewer tokens.
const test::TemporaryFolder& inputs() {
  static const test::TemporaryFolder folder;
  if (fs::exists(folder / "eval.jsonl")) return folder;
  std::istringstream lines(read_file(test::data_file("text/sample.jsonl")));
  std::string some, others, line;
  for (int i = 0; i < 60 && std::getline(lines, line); ++i) (i < 50 ? some : others) += line + "\n";
  test::write_text(folder / "train.jsonl", some);
  test::write_text(folder / "eval.jsonl", others);
  return folder;
}

// A training of seven updates. `change` replaces the values of options, or adds some; "" stands for an option
// without value, "-" for one that is left out.
Words train_words(const fs::path& output, const Change& change = {}) {
  Change options = {{"--model", model()},
                    {"--data", (inputs() / "train.jsonl").string()},
                    {"--eval-data", (inputs() / "eval.jsonl").string()},
                    {"--output", output.string()},
                    {"--tokens", "1400"},
                    {"--step-tokens", "200"},
                    {"--batch-tokens", "128"},
                    {"--sequence-length", "64"},
                    {"--learning-rate", "1e-3"},
                    {"--eval-every", "2"},
                    {"--checkpoint-every", "1"},
                    {"--threads", "1"}};
  for (const auto& [option, value] : change) options[option] = value;
  Words words = {"train"};
  for (const auto& [option, value] : options) {
    if (value == "-") continue;
    words.push_back(option);
    if (!value.empty()) words.push_back(value);
  }
  return words;
}

std::string content(const fs::path& path) {
  return fs::exists(path) ? read_file(path) : "nothing";
}

// What a training has come to, without times: its lines and its model.
std::string outcome(const fs::path& run) {
  std::string all = content(run / "model" / "config.json") + content(run / "model" / "model.safetensors");
  std::istringstream lines(content(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    Json json = parse_json(line, "metrics.jsonl");
    json.erase("tokens_per_second");
    json.erase("elapsed");
    all += json.dump() + "\n";
  }
  return all;
}

std::vector<Json> lines_with(const fs::path& run, const std::string& name) {
  std::vector<Json> found;
  std::istringstream lines(content(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json json = parse_json(line, "metrics.jsonl");
    if (json.contains(name)) found.push_back(json);
  }
  return found;
}

// Updates in the last checkpoint, read as it may just be replaced; -1 where there is none.
std::int64_t saved_updates(const fs::path& run) {
  try {
    return Hdf5File::open(run / "checkpoint.h5").read_integer("/", "steps");
  } catch (const Error&) {
    return -1;
  }
}

bool begun(const fs::path& run) {
  return fs::exists(run / "checkpoint.h5") || fs::exists(run / "checkpoint.previous.h5");
}

std::vector<pid_t> children_of(pid_t process) {
  std::vector<pid_t> children;
  const std::string id = std::to_string(process);
  std::ifstream file("/proc/" + id + "/task/" + id + "/children");
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

// The processes of the program that descend from a process.
std::vector<pid_t> ranks_under(pid_t process) {
  std::vector<pid_t> found;
  std::string name;
  if (std::ifstream("/proc/" + std::to_string(process) + "/comm") >> name; name == "galapagos")
    found.push_back(process);
  for (const pid_t child : children_of(process)) {
    const std::vector<pid_t> more = ranks_under(child);
    found.insert(found.end(), more.begin(), more.end());
  }
  return found;
}

// Runs a training and, once so many updates are saved, calls `act` once.
Ended run_and_act(int ranks, const Words& words, const fs::path& run, std::int64_t updates,
                  const std::function<void()>& act) {
  bool acted = false;
  return run_galapagos(ranks, words, 120, [&] {
    if (!acted && saved_updates(run) >= updates) {
      acted = true;
      act();
    }
    return false;
  });
}

void check_refused(const Words& words, int code, const std::string& reason) {
  for (const int ranks : {1, 3}) {
    const Ended ended = run_galapagos(ranks, words, 100);
    INFO(ranks << " ranks, '" << reason << "' expected: " << ended.code << ' ' << ended.errors);
    CHECK(ended.code == code);
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
    CHECK(ended.errors.find(reason) != std::string::npos);
  }
}

// A file system of a few MiB in memory.
class SmallDisk {
 public:
  SmallDisk(const fs::path& folder, const char* size) : folder_(folder) {
    fs::create_directory(folder);
    mounted_ = ::mount("tmpfs", folder.c_str(), "tmpfs", 0, size) == 0;
    if (!mounted_)
      std::cout << "SKIPPED: cannot mount a small file system here: " << std::strerror(errno) << '\n';
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path folder_;
  bool mounted_ = false;
};

}  // namespace

TEST_CASE("a pruned model is trained, written and read back with the perplexity that training reported",
          "[train]") {
  const test::TemporaryFolder folder;
  // The pruned models have no tokenizer: tokens of another model that fit their vocabulary.
  const std::string tokens = (folder / "tokens.bin").string();
  REQUIRE(run_galapagos(1, {"tokenize", "--tokenizer", model(), "--input",
                            (inputs() / "train.jsonl").string(), "--output", tokens})
              .code == 0);
  for (const int ranks : {1, 3}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    const Ended ended = run_galapagos(
        ranks,
        train_words(run, {{"--model", model("llama3_pruned")}, {"--data", tokens}, {"--eval-data", tokens}}));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    const std::vector<Json> evaluations = lines_with(run, "perplexity");
    REQUIRE(evaluations.size() == 5);  // before, after 2, 4, 6 and 7 updates
    CHECK(lines_with(run, "loss").size() == 7);
    const double before = evaluations.front().at("perplexity").at(tokens),
                 after = evaluations.back().at("perplexity").at(tokens);
    CHECK(after < 0.95 * before);
    const auto measured = [&](const std::string& of) {
      const Ended eval =
          run_galapagos(1, {"eval", "--model", of, "--data", tokens, "--sequence-length", "64", "--json"});
      INFO(eval.errors);
      REQUIRE(eval.code == 0);
      return parse_json(eval.output, "eval").at("perplexity").get<double>();
    };
    CHECK(measured((run / "model").string()) == Approx(after).epsilon(1e-6));
    CHECK(measured(model("llama3_pruned")) == Approx(before).epsilon(1e-6));
    const Json manifest = read_json(run / "manifest.json");
    CHECK(manifest.at("updates") == 7);
    CHECK(manifest.at("perplexity").at(tokens).get<double>() == after);
    CHECK(manifest.at("tokens").get<int>() >= 1400);
    // What the model is, it stays.
    const Json old = read_json(fs::path(model("llama3_pruned")) / "config.json"),
               now = read_json(run / "model" / "config.json");
    CHECK(old == now);
    CHECK(Checkpoint(run / "model").dtype() == DType::bf16);
  }
}

TEST_CASE("a model begins at random weights with its config.json alone", "[train]") {
  const test::TemporaryFolder folder;
  const std::string tokens = (folder / "tokens.bin").string();
  REQUIRE(run_galapagos(1, {"tokenize", "--tokenizer", model(), "--input",
                            (inputs() / "train.jsonl").string(), "--output", tokens})
              .code == 0);
  fs::create_directory(folder / "bare");
  fs::copy_file(fs::path(model()) / "config.json", folder / "bare" / "config.json");
  const Change change = {{"--model", (folder / "bare").string()},
                         {"--data", tokens},
                         {"--eval-data", tokens},
                         {"--random-weights", ""}};
  Change distil = change;
  distil["--reference"] = model();
  for (const Change& options : {change, distil}) {
    const fs::path run = folder / (options.contains("--reference") ? "distilled" : "plain");
    const Ended ended = run_galapagos(2, train_words(run, options));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    const std::vector<Json> losses = lines_with(run, "loss");
    REQUIRE(losses.size() == 7);
    CHECK(losses.back().at("loss") < losses.front().at("loss"));
    CHECK(run_galapagos(1, {"info", (run / "model").string()}).code == 0);
    // Another seed is another model.
    Change other = options;
    other["--seed"] = "1";
    const fs::path second = run.string() + "2";
    CHECK(run_galapagos(2, train_words(second, other)).code == 0);
    CHECK(lines_with(second, "loss").front().at("loss") != losses.front().at("loss"));
  }
}

TEST_CASE("a training killed at any moment goes on to the same end", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const auto name = [&](const std::string& stem) { return folder / (stem + std::to_string(ranks)); };
    REQUIRE(run_galapagos(ranks, train_words(name("whole"))).code == 0);
    const std::string expected = outcome(name("whole"));
    std::multiset<std::int64_t> seen;
    const auto kill_and_resume = [&](const std::string& stem,
                                     const std::function<bool(const fs::path&)>& until) {
      const fs::path run = name(stem);
      run_galapagos(ranks, train_words(run), 100, [&] { return until(run); });
      const std::int64_t saved = saved_updates(run);
      seen.insert(saved);
      const Ended ended =
          run_galapagos(ranks, train_words(run, fs::exists(run / "manifest.json") ? Change{{"--dry-run", ""}}
                                                : begun(run)                      ? Change{{"--resume", ""}}
                                                                                  : Change{}));
      INFO(ranks << " ranks, killed " << stem << " with " << saved << " updates saved: " << ended.errors);
      CHECK(ended.code == 0);
      CHECK(outcome(run) == expected);
    };
    for (std::int64_t updates = 1; updates <= 7; ++updates) {
      kill_and_resume("saved" + std::to_string(updates) + "on",
                      [=](const fs::path& run) { return saved_updates(run) >= updates; });
    }
    kill_and_resume("folder", [](const fs::path& run) { return fs::exists(run / "config.ini"); });
    kill_and_resume("metrics", [](const fs::path& run) { return fs::exists(run / "metrics.jsonl"); });
    kill_and_resume("part", [](const fs::path& run) { return fs::exists(part_path(run / "checkpoint.h5")); });
    kill_and_resume("model", [](const fs::path& run) {
      return fs::exists(run / "model") || fs::exists(part_path(run / "model"));
    });
    std::cout << ranks << " ranks: killed with this many updates saved:";
    for (const std::int64_t count : seen) std::cout << ' ' << count;
    std::cout << '\n';
    CHECK(std::set<std::int64_t>(seen.begin(), seen.end()).size() > 3);
  }
}

TEST_CASE("signals stop a training in an orderly way, or only have it saved", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const auto name = [&](const std::string& stem) { return folder / (stem + std::to_string(ranks)); };
    REQUIRE(run_galapagos(ranks, train_words(name("whole"))).code == 0);
    const std::string expected = outcome(name("whole"));
    // SIGUSR2 to the launcher, which passes it on to all ranks; SIGTERM to one rank only, as it can happen.
    for (const int signal : {SIGUSR2, SIGTERM}) {
      const fs::path run = name(std::to_string(signal) + "on");
      const Ended stopped = run_and_act(ranks, train_words(run), run, 2, [&] {
        const std::vector<pid_t> all = ranks_under(::getpid());
        if (!all.empty()) ::kill(signal == SIGUSR2 ? children_of(::getpid()).front() : all.back(), signal);
      });
      INFO(ranks << " ranks, signal " << signal << ": " << stopped.errors);
      CHECK(stopped.code == 75);
      CHECK(test::count_lines(stopped.errors, "galapagos: stopped after update") == 1);
      CHECK(test::count_lines(stopped.errors, "error") == 0);
      CHECK(!fs::exists(run / "manifest.json"));
      CHECK(run_galapagos(ranks, train_words(run, {{"--resume", ""}})).code == 0);
      CHECK(outcome(run) == expected);
    }
    // Nothing but this signal has it saved.
    const fs::path run = name("saved");
    bool acted = false;
    const Ended ended = run_galapagos(ranks, train_words(run, {{"--checkpoint-every", "0"}}), 120, [&] {
      if (!acted && fs::exists(run / "metrics.jsonl")) {
        acted = true;
        ::kill(children_of(::getpid()).front(), SIGUSR1);
      }
      return false;
    });
    CHECK(ended.code == 0);
    CHECK(fs::exists(run / "checkpoint.previous.h5"));
    CHECK(outcome(run) == expected);
  }
}

TEST_CASE("a time limit stops a training, which goes on to the same end", "[train]") {
  const test::TemporaryFolder folder;
  REQUIRE(run_galapagos(2, train_words(folder / "whole")).code == 0);
  // No time at all: before the first update. Then it is given all it needs.
  const fs::path run = folder / "run";
  for (int stop = 0; stop < 2; ++stop) {
    Change options = {{"--max-walltime", "1"}, {"--tokens", "200000"}};
    if (stop > 0) options["--resume"] = "";
    const Ended ended = run_galapagos(2, train_words(run, options));
    INFO(ended.errors);
    CHECK(ended.code == 75);
    CHECK(test::count_lines(ended.errors, "galapagos: stopped after update") == 1);
  }
  CHECK(saved_updates(run) > 0);
}

TEST_CASE("a killed rank ends the others", "[train]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  const Ended ended = run_and_act(3, train_words(run, {{"--tokens", "2000000"}}), run, 1, [&] {
    const std::vector<pid_t> all = ranks_under(::getpid());
    if (!all.empty()) ::kill(all.back(), SIGKILL);
  });
  CHECK(ended.code != 0);
  CHECK(ended.code != 137);  // that is: it did not have to be killed after its time
  CHECK(ranks_under(::getpid()).empty());
  CHECK(saved_updates(run) >= 1);
}

TEST_CASE("a loss that is no number ends a training and keeps the last checkpoint", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    // A rate at which weights overflow after some updates.
    const Ended ended = run_galapagos(ranks, train_words(run, {{"--learning-rate", "1000"},
                                                               {"--weight-decay", "1000"},
                                                               {"--schedule", "constant"},
                                                               {"--warmup", "0.9"}}));
    INFO(ended.errors);
    CHECK(ended.code == 5);
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
    CHECK(ended.errors.find("at update") != std::string::npos);
    CHECK(ended.errors.find(run.string()) != std::string::npos);
    CHECK(!fs::exists(run / "manifest.json"));
    CHECK(!fs::exists(run / "model"));
    // Saved is what was before; gone on with, it fails in the same place.
    const std::int64_t saved = saved_updates(run);
    CHECK(saved >= 1);
    CHECK(lines_with(run, "loss").size() == static_cast<std::size_t>(saved));
    CHECK(run_galapagos(ranks, train_words(run, {{"--resume", ""},
                                                 {"--learning-rate", "1000"},
                                                 {"--weight-decay", "1000"},
                                                 {"--schedule", "constant"},
                                                 {"--warmup", "0.9"}}))
              .code == 5);
    CHECK(saved_updates(run) == saved);
  }
}

TEST_CASE("a text shorter than the budget is read again, and that is said", "[train]") {
  const test::TemporaryFolder folder;
  const Ended ended = run_galapagos(
      2,
      train_words(folder / "run",
                  {{"--data", (inputs() / "eval.jsonl").string()}, {"--tokens", "6000"}, {"--dry-run", ""}}));
  CHECK(ended.code == 0);
  CHECK(test::count_lines(ended.errors, "shorter than the budget of 6,000 tokens: it is read") == 1);
  CHECK(!fs::exists(folder / "run"));
  const Ended enough = run_galapagos(2, train_words(folder / "run", {{"--dry-run", ""}}));
  CHECK(test::count_lines(enough.errors, "shorter than the budget") == 0);
}

TEST_CASE("a training with wrong options or files is refused", "[train]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  CHECK(run_galapagos(2, {"train", "--help"}).code == 0);
  const auto refused = [&](const Change& change, int code, const std::string& reason) {
    check_refused(train_words(run, change), code, reason);
  };
  refused({{"--data", "-"}}, 2, "--data");
  refused({{"--tokens", "0"}}, 2, "--tokens");
  refused({{"--schedule", "stairs"}}, 2, "unknown schedule 'stairs'");
  refused({{"--beta2", "1"}}, 2, "--beta2");
  refused({{"--min-learning-rate", "2"}}, 2, "--min-learning-rate");
  refused({{"--learning-rat", "1"}}, 2, "--learning-rat");
  refused({{"--model", (folder / "none").string()}}, 3, "no such folder");
  refused({{"--data", (folder / "none.jsonl").string()}}, 3, "none.jsonl");
  refused({{"--reference", (folder / "none").string()}}, 3, "none");
  refused({{"--reference", model("qwen2_tiny")}}, 3, "qwen2_tiny");
  refused({{"--memory-limit", "1M"}}, 4, "--recompute");
  refused({{"--resume", ""}}, 3, "leave --resume out");
  CHECK(!fs::exists(run));
  test::write_text(folder / "file", "x");
  check_refused(train_words(folder / "file" / "run"), 3, "cannot make the folder");

  REQUIRE(run_galapagos(2, train_words(run)).code == 0);
  const std::string before = outcome(run);
  refused({}, 3, "a training is there already");
  refused({{"--resume", ""}}, 3, "this training is complete");
  fs::remove(run / "manifest.json");
  refused({{"--resume", ""}, {"--learning-rate", "2e-3"}}, 3, "learning-rate");
  refused({{"--resume", ""}, {"--model", model("llama2_tiny")}}, 3, "");
  CHECK(outcome(run) == before);
}

TEST_CASE("a disk that fills up ends a training, which goes on once there is room", "[train]") {
  const test::TemporaryFolder folder;
  const SmallDisk disk(folder / "disk", "size=12m");
  if (!disk.mounted()) return;
  for (const int ranks : {1, 3}) {
    const fs::path whole = folder / ("whole" + std::to_string(ranks)),
                   run = folder / "disk" / ("run" + std::to_string(ranks));
    REQUIRE(run_galapagos(ranks, train_words(whole)).code == 0);
    // Room for one checkpoint, not for another beside it.
    const fs::path filler = folder / "disk" / "filler";
    const std::uint64_t state = fs::file_size(whole / "checkpoint.h5"),
                        free = free_disk_bytes(folder / "disk");
    std::ofstream(filler) << std::string(free - state - state / 2, 'x');
    const Ended full = run_galapagos(ranks, train_words(run), 100);
    INFO(full.errors);
    CHECK(full.code == 4);
    CHECK(test::count_lines(full.errors, "galapagos: error: ") == 1);
    CHECK(saved_updates(run) == 1);
    fs::remove(filler);
    CHECK(run_galapagos(ranks, train_words(run, {{"--resume", ""}})).code == 0);
    CHECK(outcome(run) == outcome(whole));
    fs::remove_all(run);
  }
}
