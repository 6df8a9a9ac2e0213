// Checkpoints, databases and assignments that do not fit a mixture of experts end a command with an error of
// its own.
#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <algorithm>
#include <functional>

#include <galapagos/core/file.hpp>
#include <galapagos/io/safetensors.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

fs::path mixture() {
  return test::data_file("models/qwen3_moe_tiny");
}

test::Refusal refusal(const Words& words, const std::string& reason) {
  return {[words](int) { return words; }, 3, reason, {}};
}

Words database(const fs::path& model, const fs::path& output) {
  return {"database",
          "--model",
          model.string(),
          "--calibration",
          test::data_file("text/sample.jsonl").string(),
          "--calibration-tokens",
          "1000",
          "--sequence-length",
          "64",
          "--levels",
          "4",
          "--output",
          output.string(),
          "--threads",
          "1"};
}

Words eval(const fs::path& model, const Words& more = {}) {
  Words words = {
      "eval",     "--model", model.string(),      "--data", test::data_file("text/sample.jsonl").string(),
      "--tokens", "300",     "--sequence-length", "64",     "--threads",
      "1"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A copy of the mixture whose tensors are changed.
void write_changed(const fs::path& folder, const std::function<void(std::vector<TensorEntry>&)>& change) {
  fs::copy(mixture(), folder);
  const SafetensorsFile file(mixture() / "model.safetensors");
  std::vector<TensorEntry> tensors(file.entries().begin(), file.entries().end());
  change(tensors);
  fs::remove(folder / "model.safetensors");
  write_safetensors(folder / "model.safetensors", tensors);
}

TensorEntry& named(std::vector<TensorEntry>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &TensorEntry::name);
}

/// The first `rows` rows.
void cut(TensorEntry& tensor, std::int64_t rows) {
  tensor.data = tensor.data.first(tensor.data.size() / static_cast<std::size_t>(tensor.shape[0]) *
                                  static_cast<std::size_t>(rows));
  tensor.shape[0] = rows;
}

}  // namespace

TEST_CASE("a mixture whose experts or router are not as config.json says", "[app]") {
  const test::TemporaryFolder folder;
  std::vector<test::Refusal> refusals;
  const auto refused = [&](const std::string& name, const std::string& reason,
                           const std::function<void(std::vector<TensorEntry>&)>& change) {
    const fs::path model = folder / name;
    write_changed(model, change);
    refusals.push_back(refusal(eval(model), reason));
    const auto output = [&folder, name](int ranks) { return folder / (name + std::to_string(ranks)); };
    refusals.push_back({[=](int ranks) { return database(model, output(ranks)); }, 3, reason, {}});
    refusals.push_back(
        {[=](int ranks) -> Words {
           return {"stitch", "--model", model.string(), "--output", output(ranks).string() + "s"};
         },
         3,
         reason,
         {}});
  };
  const std::string expert = "model.layers.2.mlp.experts.3.up_proj.weight",
                    router = "model.layers.3.mlp.gate.weight",
                    last = "model.layers.1.mlp.experts.5.gate_proj.weight";
  refused("missing", "no tensor '" + expert + "'", [&](std::vector<TensorEntry>& tensors) {
    std::erase_if(tensors, [&](const TensorEntry& tensor) { return tensor.name == expert; });
  });
  refused("no_router", "no tensor '" + router + "'", [&](std::vector<TensorEntry>& tensors) {
    std::erase_if(tensors, [&](const TensorEntry& tensor) { return tensor.name == router; });
  });
  refused("router", "tensor '" + router + "' has another shape: expected [6, 32], found [5, 32]",
          [&](std::vector<TensorEntry>& tensors) { cut(named(tensors, router), 5); });
  refused("narrow", "tensor '" + last + "' has another shape: expected [24, 32], found [23, 32]",
          [&](std::vector<TensorEntry>& tensors) { cut(named(tensors, last), 23); });
  test::check_refused(refusals);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder.path())) {
    const std::string name = entry.path().filename().string();
    CHECK((fs::exists(entry.path() / "config.json") || name.ends_with(".part")));
  }
}

TEST_CASE("a database of another model, and an assignment without an expert's line", "[app]") {
  const test::TemporaryFolder folder;
  const fs::path dense = test::data_file("models/qwen3_tiny"), of_dense = folder / "dense.h5",
                 of_mixture = folder / "mixture.h5";
  REQUIRE(run_galapagos(2, database(dense, of_dense)).code == 0);
  REQUIRE(run_galapagos(2, database(mixture(), of_mixture)).code == 0);
  const auto text_of = [&](const char* level) {
    std::string text;
    for (int layer = 0; layer < 4; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer);
      text += prefix + ".self_attn.o_proj: " + level + "\n";
      for (int expert = 0; layer > 0 && expert < 6; ++expert)
        text += prefix + ".mlp.experts." + std::to_string(expert) + ".down_proj: " + level + "\n";
      if (layer == 0) text += prefix + ".mlp.down_proj: " + level + "\n";
    }
    return text;
  };
  const std::string whole = text_of("1");
  test::write_text(folder / "whole.txt", whole);
  const auto with = [&](const fs::path& file, const char* assignment) -> Words {
    return {"--database", file.string(), "--assignment", (folder / assignment).string()};
  };
  const test::Ended sound = run_galapagos(2, eval(mixture(), with(of_mixture, "whole.txt")));
  INFO(sound.errors);
  CHECK(sound.code == 0);

  const std::string other = "the database was made from another model";
  std::vector<test::Refusal> refusals = {refusal(eval(mixture(), with(of_dense, "whole.txt")), other),
                                         refusal(eval(dense, with(of_mixture, "whole.txt")), other)};
  for (const auto& [model, file] : {std::pair(mixture(), of_dense), {dense, of_mixture}}) {
    refusals.push_back({[&folder, model = model, file = file](int ranks) -> Words {
                          return {"stitch",
                                  "--model",
                                  model.string(),
                                  "--database",
                                  file.string(),
                                  "--assignment",
                                  (folder / "whole.txt").string(),
                                  "--output",
                                  (folder / ("y" + std::to_string(ranks))).string() + file.stem().string()};
                        },
                        3,
                        other,
                        {}});
  }

  const std::string line = "model.layers.2.mlp.experts.4.down_proj: 1\n";
  std::string without = whole;
  without.erase(without.find(line), line.size());
  test::write_text(folder / "without.txt", without);
  refusals.push_back(refusal(eval(mixture(), with(of_mixture, "without.txt")),
                             "no line for model.layers.2.mlp.experts.4.down_proj"));
  std::string beyond = whole;
  beyond.replace(beyond.find(line), line.size(), "model.layers.2.mlp.experts.6.down_proj: 1\n");
  test::write_text(folder / "beyond.txt", beyond);
  refusals.push_back(refusal(eval(mixture(), with(of_mixture, "beyond.txt")),
                             "unknown module 'model.layers.2.mlp.experts.6.down_proj'"));
  test::check_refused(refusals);

  // A run that would go on with another model's file.
  for (const auto& [model, file] : {std::pair(mixture(), of_dense), {dense, of_mixture}}) {
    const test::Ended ended = run_galapagos(2, database(model, file));
    INFO(ended.errors);
    CHECK(ended.code == 3);
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
    CHECK(ended.errors.find(file.filename().string()) != std::string::npos);
  }
}
