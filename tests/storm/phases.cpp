#include "phase.hpp"
#include "progress.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <sstream>
#include <stdexcept>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

Words split(const std::string& text) {
  std::istringstream stream(text);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Words operator+(Words words, const std::string& more) {
  return std::move(words) + split(more);
}

std::string model() {
  return test::data_file("models/llama3_tiny").string();
}

Words on_model(const char* command) {
  return {command, "--model", model(), "--threads", "1", "--batch-tokens", "256"};
}

Words on_text(const char* command, const char* tokens) {
  return on_model(command) + Words{"--calibration",        test::data_file("text/sample.jsonl").string(),
                                   "--sequence-length",    "128",
                                   "--calibration-tokens", tokens};
}

/// Many small levels, so that there is something to write.
std::string many_levels() {
  std::string list = "0";
  for (int columns = 8; columns <= 176; columns += 8) list += " " + std::to_string(columns);
  return list;
}

Words of_search(const fs::path& database, const char* more) {
  return on_text("search", "2000") + Words{"--database", database.string()} +
         "--target-sparsity 0.5 --offspring 4 --generations 6 --compare-tokens 200 --seed 3" + more;
}

}  // namespace

Words Phase::command(const fs::path& folder) const {
  return words + Words{"--output", (folder / output).string()};
}

void make_inputs(const fs::path& folder) {
  fs::create_directories(folder);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto make = [&](const char* name, const Words& words) {
    if (fs::exists(path(name))) return;
    const test::Ended ended = test::run_galapagos(1, words + Words{"--output", path(name)});
    if (ended.code != 0) throw std::runtime_error("no inputs can be made: " + ended.errors);
  };
  make("s.h5", on_text("sensitivity", "2000"));
  make("x.h5", on_text("database", "2000") + Words{"--levels", "6", "--sensitivity", path("s.h5")});
  const Words of_levels = {"--model", model(), "--database", path("x.h5")};
  make("a.txt", Words{"assign"} + of_levels + "--target-sparsity 0.5");
  make("pruned", Words{"stitch"} + of_levels + Words{"--assignment", path("a.txt")});
  test::write_text(
      path("steps.ini"),
      "[database]\nlevels = 4\n[sensitivity]\ncalibration-tokens = 500\ncheckpoint-tokens = 128\n"
      "[distil]\nepochs = 1\ntokens = 1000\nstep-tokens = 300\n");
  test::write_text(path("small_steps.ini"),
                   "[database]\nlevels = 1\n[sensitivity]\ncalibration-tokens = 500\n[distil]\nepochs = 0\n");
}

std::vector<Phase> all_phases(const fs::path& inputs) {
  const std::string text = test::data_file("text/sample.jsonl").string();
  const fs::path s = inputs / "s.h5", x = inputs / "x.h5", a = inputs / "a.txt", pruned = inputs / "pruned";
  const Words weighed = {"--sensitivity", s.string()}, levels = {"--ffn-removed", many_levels()},
              assigned = {"--database", x.string(), "--assignment", a.string()},
              steps = {"--config", (inputs / "steps.ini").string()},
              held_out = {"--held-out", text, "--target-sparsity", "0.4"};
  const auto trained = [&](const char* command, const char* more) {
    Words words = {command, "--model", pruned.string(), "--data", text, "--threads", "1", "--seed", "3"};
    return words + more;
  };
  const char* train =
      "--tokens 2500 --step-tokens 300 --batch-tokens 128 --sequence-length 64 --checkpoint-every 1";
  std::vector<Phase> all;
  const auto add = [&](Phase phase) { all.push_back(std::move(phase)); };

  const Words sensitivity = on_text("sensitivity", "1000") + "--checkpoint-tokens 200";
  add({.name = "sensitivity-1",
       .ranks = 1,
       .weight = 2,
       .words = sensitivity,
       .output = "s.h5",
       .progress = batches_of});
  add({.name = "sensitivity-3",
       .ranks = 3,
       .weight = 3,
       .words = sensitivity,
       .output = "s.h5",
       .progress = batches_of});
  add({.name = "sensitivity-shards-4",
       .ranks = 4,
       .weight = 1,
       .words = sensitivity + "--shards 2",
       .output = "s.h5",
       .shards = true,
       .progress = batches_of});

  const Words database = on_text("database", "1500");
  add({.name = "database-1",
       .ranks = 1,
       .weight = 3,
       .words = database + levels,
       .output = "x.h5",
       .progress = modules_of_run});
  add({.name = "database-2-weighed",
       .ranks = 2,
       .weight = 3,
       .words = database + levels + weighed,
       .output = "x.h5",
       .read = {s},
       .progress = modules_of_run});
  add({.name = "database-4-lanes",
       .ranks = 4,
       .weight = 3,
       .words = database + levels + "--lanes 2",
       .output = "x.h5",
       .progress = modules_of_run});
  add({.name = "database-2-path",
       .ranks = 2,
       .weight = 2,
       .words = database + "--levels 6 --compensate auto" + Words{"--path", a.string()},
       .output = "x.h5",
       .progress = modules_of_run});

  const auto search = [&](const char* more) {
    return of_search(x, more) + Words{"--survivors", "2 1", "--tokens", "96 160"};
  };
  add({.name = "search-2-one-island",
       .ranks = 2,
       .weight = 3,
       .words = search("--islands 1"),
       .output = "run",
       .islands = 1,
       .read = {x},
       .progress = generations_of});
  add({.name = "search-3-islands",
       .ranks = 3,
       .weight = 4,
       .words = search("--islands 3 --migration-interval 2"),
       .output = "run",
       .islands = 3,
       .read = {x},
       .progress = generations_of});
  add({.name = "search-4-shards",
       .ranks = 4,
       .weight = 3,
       .words = search("--islands 2 --shards 2 --migration-interval 2"),
       .output = "run",
       .shards = true,
       .islands = 2,
       .read = {x},
       .progress = generations_of});
  add({.name = "search-2-trained",
       .ranks = 2,
       .weight = 1,
       .words = search("--islands 2") + Words{"--training-tokens", "0 100"},
       .output = "run",
       .islands = 2,
       .read = {x},
       .progress = generations_of});
  add({.name = "search-2-gradient",
       .ranks = 2,
       .weight = 1,
       .words = search("--islands 2 --start gradient --gradient-steps 8 --gradient-tokens 256"),
       .output = "run",
       .islands = 2,
       .read = {x},
       .progress = generations_of});
  const auto race = [&](const char* more) {
    return of_search(x, "--strategy racing --block-tokens 200 --eval-every 2") + more;
  };
  add({.name = "race-3-islands",
       .ranks = 3,
       .weight = 4,
       .words = race("--islands 2"),
       .output = "run",
       .islands = 2,
       .read = {x},
       .progress = trials_of});
  add({.name = "race-4-shards",
       .ranks = 4,
       .weight = 2,
       .words = race("--islands 2 --shards 2 --lag 2"),
       .output = "run",
       .shards = true,
       .islands = 2,
       .read = {x},
       .progress = trials_of});

  add({.name = "distil-2",
       .ranks = 2,
       .weight = 2,
       .words = trained("distil", "--tokens 1000 --sequence-length 64 --step-tokens 300") +
                Words{"--reference", model()},
       .output = "run",
       .progress = layers_of});
  add({.name = "train-1",
       .ranks = 1,
       .weight = 2,
       .words = trained("train", train),
       .output = "run",
       .progress = updates_of});
  add({.name = "train-3",
       .ranks = 3,
       .weight = 2,
       .words = trained("train", train),
       .output = "run",
       .progress = updates_of});
  add({.name = "train-4-shards",
       .ranks = 4,
       .weight = 2,
       .words = trained("train", train) + "--shards 2",
       .output = "run",
       .shards = true,
       .progress = updates_of});

  const Words rounds = on_text("rounds", "500") + held_out + steps + "--rounds 1";
  add({.name = "prune-2",
       .ranks = 2,
       .weight = 1,
       .words = on_text("prune", "500") + held_out + steps + "--stages 2",
       .output = "run"});
  add({.name = "prune-2-passed-over",
       .ranks = 2,
       .weight = 1,
       .words = on_text("prune", "500") + Words{"--target-sparsity", "0.2", "--stages", "6", "--config",
                                                (inputs / "small_steps.ini").string()},
       .output = "run"});
  add({.name = "rounds-2", .ranks = 2, .weight = 1, .words = rounds, .output = "run"});

  const Words stitch = Words{"stitch", "--model", model()} + assigned;
  add({.name = "stitch-2",
       .ranks = 2,
       .weight = 2,
       .words = stitch + "--format hf gguf",
       .output = "new",
       .stops = false,
       .read = {x}});
  add({.name = "stitch-2-refit",
       .ranks = 2,
       .weight = 1,
       .words = stitch + "--refit auto --calibration-tokens 500 --sequence-length 64" +
                Words{"--calibration", text},
       .output = "new",
       .stops = false,
       .read = {x}});
  add({.name = "generate-2",
       .ranks = 2,
       .weight = 2,
       .words = {"generate", "--model", model(), "--samples", "40", "--temperature", "1", "--max-new-tokens",
                 "200", "--batch", "4", "--threads", "1"},
       .output = "texts.jsonl"});
  add({.name = "tokenize-2",
       .ranks = 2,
       .weight = 1,
       .words = {"tokenize", "--tokenizer", model(), "--input", text},
       .output = "t.bin",
       .stops = false});
  add({.name = "convert-2",
       .ranks = 2,
       .weight = 1,
       .words = {"convert", "--model", model(), "--database", x.string()},
       .output = "folder",
       .stops = false,
       .read = {x}});
  add({.name = "assign-1",
       .ranks = 1,
       .weight = 1,
       .words = {"assign", "--model", model(), "--database", x.string(), "--target-sparsity", "0.5"},
       .output = "a.txt",
       .stops = false});
  return all;
}

}  // namespace galapagos::storm
