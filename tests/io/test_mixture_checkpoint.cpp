// The experts of checkpoints, under Mixtral's names and as the two tensors of all experts that transformers 5
// holds.
#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <list>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

namespace fs = std::filesystem;

/// qwen3_moe_tiny with the experts of its layers as two tensors each, but for `single`'s, and what a test
/// adds or changes.
class Fused {
 public:
  explicit Fused(std::int64_t single = -1) : config_(read_hf_config(source.folder())) {
    fs::copy(source.folder() / "config.json", folder_ / "config.json");
    for (const std::string& name : source.names()) {
      const bool of_expert = name.find(".experts.") != std::string::npos;
      if (!of_expert || name.starts_with(fmt::format("model.layers.{}.", single)))
        tensors_.push_back(source.entry(name));
    }
    for (std::int64_t layer = 0; layer < config_.layers; ++layer)
      if (config_.shape(layer).mixture() && layer != single) fuse(layer);
  }

  TensorEntry& tensor(const std::string& name) {
    return *std::ranges::find(tensors_, name, &TensorEntry::name);
  }
  void add(const TensorEntry& entry) { tensors_.push_back(entry); }
  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const TensorEntry& entry) { return entry.name == name; });
  }
  const fs::path& write() const {
    write_safetensors(folder_ / "model.safetensors", tensors_);
    return folder_.path();
  }

  const Checkpoint source{data_file("models/qwen3_moe_tiny")};

 private:
  /// gate_up_proj [experts, 2 * columns, hidden], gate_proj before up_proj, and down_proj [experts, hidden,
  /// columns].
  void fuse(std::int64_t layer) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
    const std::int64_t experts = config_.mixture->experts, columns = config_.mixture->expert_size;
    std::vector<std::byte>&gate_up = bytes_.emplace_back(), &down = bytes_.emplace_back();
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      const auto append = [&](std::vector<std::byte>& to, const char* part) {
        const auto data = source.entry(fmt::format("{}{}.{}.weight", prefix, expert, part)).data;
        to.insert(to.end(), data.begin(), data.end());
      };
      append(gate_up, "gate_proj");
      append(gate_up, "up_proj");
      append(down, "down_proj");
    }
    const std::string type = source.entry(prefix + "0.up_proj.weight").dtype;
    tensors_.push_back({prefix + "gate_up_proj", type, {experts, 2 * columns, config_.hidden_size}, gate_up});
    tensors_.push_back({prefix + "down_proj", type, {experts, config_.hidden_size, columns}, down});
  }

  TemporaryFolder folder_;
  HfConfig config_;
  std::vector<TensorEntry> tensors_;
  std::list<std::vector<std::byte>> bytes_;
};

constexpr const char* fused_down = "model.layers.2.mlp.experts.down_proj";
constexpr const char* fused_gate_up = "model.layers.1.mlp.experts.gate_up_proj";

}  // namespace

TEST_CASE("a checkpoint with the experts of a layer as two tensors equals the one with single experts") {
  const std::int64_t single = GENERATE(-1, 2);
  const Fused fused(single);
  const Checkpoint found(fused.write());
  CHECK(found.names() == fused.source.names());
  for (const std::string& name : fused.source.names()) {
    CAPTURE(name);
    const TensorEntry &wanted = fused.source.entry(name), &entry = found.entry(name);
    CHECK(entry.shape == wanted.shape);
    CHECK(entry.dtype == wanted.dtype);
    CHECK(std::ranges::equal(entry.data, wanted.data));
  }
  CHECK(found.fingerprint() == fused.source.fingerprint());
  CHECK(found.total_bytes() == fused.source.total_bytes());
  const std::size_t layers = single < 0 ? 3 : 2;
  CHECK(found.stored() == fused.source.stored() - layers * (6 * 3 - 2));
}

TEST_CASE("an expert that is there by itself and among all is refused") {
  Fused fused;
  const std::string name = GENERATE("model.layers.1.mlp.experts.0.up_proj.weight",
                                    "model.layers.3.mlp.experts.5.down_proj.weight");
  fused.add(fused.source.entry(name));
  const std::string error = input_error([&] { Checkpoint(fused.write()); });
  CHECK(contains(error, name));
  CHECK(contains(error, "both by itself and in"));
}

TEST_CASE("the experts of a layer in tensors of another shape are refused by name") {
  const auto error_of = [](const char* name, std::vector<std::int64_t> shape) {
    Fused fused;
    fused.tensor(name).shape = std::move(shape);
    return input_error([&] { Checkpoint(fused.write()); });
  };
  const auto refused = [&](const char* name, std::vector<std::int64_t> shape) {
    const std::string error = error_of(name, std::move(shape));
    CAPTURE(name, error);
    CHECK(contains(error, name));
    CHECK(contains(error, "has another shape"));
  };
  CHECK(error_of(fused_down, {6, 32, 24}).empty());
  refused(fused_down, {6, 24, 32});
  refused(fused_down, {3, 32, 48});
  refused(fused_down, {6 * 32, 24});
  refused(fused_down, {6 * 32 * 24});
  CHECK(error_of(fused_gate_up, {6, 48, 32}).empty());
  refused(fused_gate_up, {6, 32, 48});
  refused(fused_gate_up, {12, 24, 32});
  refused(fused_gate_up, {6, 48, 32, 1});
}

TEST_CASE("what the tensors of all experts leave out is missing") {
  Fused fused;
  fused.remove(fused_down);
  const Checkpoint checkpoint(fused.write());
  CHECK(checkpoint.has("model.layers.2.mlp.experts.5.up_proj.weight"));
  const std::string error = input_error(
      [&] { static_cast<void>(checkpoint.entry("model.layers.2.mlp.experts.5.down_proj.weight")); });
  CHECK(contains(error, "model.layers.2.mlp.experts.5.down_proj.weight"));
}

TEST_CASE("what a mixture has besides its experts is refused by name") {
  const auto refused = [](const std::string& name) {
    Fused fused;
    TensorEntry entry = fused.tensor("model.layers.1.self_attn.q_norm.weight");
    entry.name = name;
    fused.add(entry);
    CAPTURE(name);
    CHECK(contains(input_error([&] { Checkpoint(fused.write()); }), name));
  };
  refused("model.layers.1.mlp.shared_expert.gate_proj.weight");
  refused("model.layers.3.mlp.experts.6.up_proj.weight");
  refused("model.layers.3.mlp.experts.0.up_proj.bias");
  refused("model.layers.3.mlp.experts.0x.up_proj.weight");
  refused("model.layers.2.mlp.gate.e_score_correction_bias");
}

TEST_CASE("a dense layer's tensors of experts are left alone") {
  Fused fused;
  TensorEntry entry = fused.tensor(fused_down);
  entry.name = "model.layers.0.mlp.experts.down_proj";
  fused.add(entry);
  CHECK(Checkpoint(fused.write()).has(entry.name));
}

TEST_CASE("Mixtral's experts have the names of others'") {
  const fs::path source = data_file("models/mixtral_tiny");
  const Checkpoint checkpoint(source);
  const SafetensorsFile file(source / "model.safetensors");
  CHECK(checkpoint.names().size() == file.entries().size());
  for (const std::string& name : checkpoint.names()) CHECK_FALSE(contains(name, "block_sparse_moe"));
  const std::pair<const char*, const char*> names[] = {
      {"w1", "gate_proj"}, {"w3", "up_proj"}, {"w2", "down_proj"}};
  for (const auto& [stored, usual] : names) {
    const TensorEntry* const entry =
        file.find(fmt::format("model.layers.1.block_sparse_moe.experts.4.{}.weight", stored));
    REQUIRE(entry != nullptr);
    CHECK(std::ranges::equal(
        checkpoint.entry(fmt::format("model.layers.1.mlp.experts.4.{}.weight", usual)).data, entry->data));
  }
  CHECK(checkpoint.entry("model.layers.2.mlp.gate.weight").shape == Checkpoint::Shape{5, 32});

  // Under both names at once.
  const TemporaryFolder folder;
  fs::copy(source / "config.json", folder / "config.json");
  std::vector<TensorEntry> tensors(file.entries().begin(), file.entries().end());
  tensors.push_back(*file.find("model.layers.1.block_sparse_moe.experts.4.w2.weight"));
  tensors.back().name = "model.layers.1.mlp.experts.4.down_proj.weight";
  write_safetensors(folder / "model.safetensors", tensors);
  CHECK(contains(input_error([&] { Checkpoint(folder.path()); }), "is there under two names"));
}
