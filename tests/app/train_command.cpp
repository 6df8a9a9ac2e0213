#include "train_command.hpp"

#include "support/catch.hpp"

#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/io/hdf5.hpp>

namespace galapagos::test {
namespace {

namespace fs = std::filesystem;

std::vector<Json> lines_of(const fs::path& run, const char* key) {
  std::vector<Json> found;
  const fs::path path = run / "metrics.jsonl";
  std::istringstream lines(fs::exists(path) ? read_file(path) : "");
  for (std::string line; std::getline(lines, line);) {
    Json json = parse_json(line, "metrics.jsonl");
    if (json.contains(key)) found.push_back(std::move(json));
  }
  return found;
}

}  // namespace

const TemporaryFolder& train_inputs() {
  static const TemporaryFolder folder;
  if (fs::exists(folder / "eval.jsonl")) return folder;
  std::istringstream lines(read_file(data_file("text/sample.jsonl")));
  std::string some, line;
  for (int i = 0; i < 20 && std::getline(lines, line); ++i) some += line + "\n";
  write_text(folder / "eval.jsonl", some);
  return folder;
}

std::vector<std::string> train_words(const fs::path& output, const TrainChange& change) {
  TrainChange options = {{"--model", data_file("models/llama3_tiny").string()},
                         {"--data", data_file("text/sample.jsonl").string()},
                         {"--output", output.string()},
                         {"--tokens", "6000"},
                         {"--step-tokens", "500"},
                         {"--batch-tokens", "256"},
                         {"--sequence-length", "128"},
                         {"--learning-rate", "1e-3"},
                         {"--checkpoint-every", "3"},
                         {"--eval-data", (train_inputs() / "eval.jsonl").string()},
                         {"--eval-every", "4"},
                         {"--seed", "3"},
                         {"--threads", "1"}};
  for (const auto& [option, value] : change) options[option] = value;
  std::vector<std::string> words = {"train"};
  for (const auto& [option, value] : options) {
    if (value == "-") continue;
    words.push_back(option);
    if (!value.empty()) words.push_back(value);
  }
  return words;
}

Ended train(int ranks, const fs::path& output, const TrainChange& change) {
  const Ended ended = run_galapagos(ranks, train_words(output, change));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return ended;
}

std::string train_metrics(const fs::path& run) {
  const fs::path path = run / "metrics.jsonl";
  std::istringstream lines(fs::exists(path) ? read_file(path) : "");
  std::string all;
  for (std::string line; std::getline(lines, line);) {
    Json json = parse_json(line, "metrics.jsonl");
    json.erase("tokens_per_second");
    json.erase("elapsed");
    all += json.dump() + "\n";
  }
  return all;
}

std::string model_bytes(const fs::path& run) {
  return hex64(Hash64().add(read_file(run / "model" / "model.safetensors")).value());
}

std::string train_findings(const fs::path& run) {
  return train_metrics(run) + model_bytes(run);
}

std::vector<Json> train_updates(const fs::path& run) {
  return lines_of(run, "loss");
}

std::vector<Json> train_evaluations(const fs::path& run) {
  return lines_of(run, "perplexity");
}

std::int64_t saved_updates(const fs::path& run) {
  try {
    return Hdf5File::open(run / "checkpoint.h5").read_integer("/", "steps");
  } catch (const Error&) {
    return -1;
  }
}

Json evaluated(const fs::path& model, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"eval",
                                    "--json",
                                    "--model",
                                    model.string(),
                                    "--data",
                                    (train_inputs() / "eval.jsonl").string(),
                                    "--sequence-length",
                                    "128",
                                    "--threads",
                                    "1"};
  words.insert(words.end(), more.begin(), more.end());
  const Ended ended = run_galapagos(1, words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return parse_json(ended.output, "eval");
}

fs::path pruned_model() {
  static const TemporaryFolder folder;
  if (fs::exists(folder / "pruned")) return folder / "pruned";
  const std::string database = (folder / "x.h5").string(), assignment = (folder / "best.txt").string();
  REQUIRE(run_galapagos(2, {"database", "--model", data_file("models/llama3_tiny").string(), "--calibration",
                            data_file("text/sample.jsonl").string(), "--levels", "6", "--sequence-length",
                            "128", "--calibration-tokens", "3000", "--output", database, "--threads", "1"})
              .code == 0);
  std::string levels;
  const int of_attention[] = {2, 6, 0, 3}, of_ffn[] = {1, 3, 6, 2};
  for (int layer = 0; layer < 4; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer);
    levels += at + ".mlp.down_proj: " + std::to_string(of_ffn[layer]) + "\n";
    levels += at + ".self_attn.o_proj: " + std::to_string(of_attention[layer]) + "\n";
  }
  write_text(assignment, levels);
  const Ended stitched =
      run_galapagos(1, {"stitch", "--model", data_file("models/llama3_tiny").string(), "--database", database,
                        "--assignment", assignment, "--output", (folder / "pruned").string()});
  INFO(stitched.errors);
  REQUIRE(stitched.code == 0);
  return folder / "pruned";
}

}  // namespace galapagos::test
