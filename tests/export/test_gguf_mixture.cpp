// GGUF files of mixtures of experts: by the family's own architecture of llama.cpp where layers are alike, by
// one that can leave experts out where they are not.
#include "gguf_model.hpp"
#include "mixture_parent.hpp"
#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/export/stitch.hpp>

using namespace galapagos;
using test::farthest;
using test::GgufFile;
using test::GgufModel;
using test::Numbers;
using test::Parent;

namespace {

namespace fs = std::filesystem;

StitchOptions to(const fs::path& output, GgufType type = GgufType::f32) {
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = output;
  options.gguf_type = type;
  options.shard_bytes = 60000;
  return options;
}

/// Collective. What the model in a file says of a text.
std::vector<double> nll_of_file(const Communicator& world, const GgufFile& file, const HfConfig& parent,
                                const fs::path& folder, const TokenSet& data) {
  const GgufModel model(file, parent, folder.string() + ".read" + std::to_string(world.rank()));
  const Checkpoint checkpoint(model.folder);
  return test::nll_of(world, checkpoint_source(checkpoint, model.config, DType::f32, Device::cpu), data);
}

GgufFile stitched(const Communicator& world, const Parent& parent, const Assignment& assignment,
                  const StitchOptions& options) {
  stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
  return test::read_gguf(options.output);
}

GgufFile converted(const Communicator& world, const fs::path& model, const StitchOptions& options) {
  const Checkpoint checkpoint(model);
  convert_model(world, checkpoint, read_hf_config(model), options);
  return test::read_gguf(options.output);
}

const std::string& architecture(const GgufFile& file) {
  return file.get<std::string>("general.architecture");
}

/// Collective. The folder of a model with another config.json and other tensors.
fs::path changed(const Communicator& world, const char* name, const fs::path& folder, const Json& keys,
                 const std::function<std::vector<TensorEntry>(const Checkpoint&)>& tensors) {
  agree_at_root(world, [&] {
    fs::create_directories(folder);
    const fs::path model = test::data_file("models") / name;
    Json config = read_json(model / "config.json");
    config.update(keys);
    write_file_atomically(folder / "config.json", config.dump());
    const Checkpoint checkpoint(model);
    write_safetensors(folder / "model.safetensors", tensors(checkpoint));
  });
  return folder;
}

std::vector<TensorEntry> all_of(const Checkpoint& checkpoint) {
  std::vector<TensorEntry> entries;
  for (const std::string& name : checkpoint.names()) {
    entries.push_back(checkpoint.entry(name));
    entries.back().name = name;
  }
  return entries;
}

/// With the feed-forward part of layer 1 in the dense layer 0, too.
std::vector<TensorEntry> mixtures_alone(const Checkpoint& checkpoint) {
  std::vector<TensorEntry> entries;
  for (TensorEntry& entry : all_of(checkpoint)) {
    if (entry.name.starts_with("model.layers.0.mlp.")) continue;
    entries.push_back(entry);
    if (!entry.name.starts_with("model.layers.1.mlp.")) continue;
    entry.name[std::string("model.layers.").size()] = '0';
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace

TEST_CASE("a GGUF file of a mixture holds the model that was measured", "[gguf][mixture]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"qwen3_moe_tiny", "mixtral_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = test::mixture_parent(world, test::data_file("models") / name, folder);
    const TokenSet data = test::random_tokens(parent.config.vocab_size);
    for (const bool whole : {true, false}) {
      CAPTURE(whole);
      const Assignment assignment = test::some_levels(parent.space, whole);
      const fs::path output = folder / (whole ? "whole" : "gone");
      const std::vector<double> measured = test::nll_in_memory(world, parent, assignment, data);
      const GgufFile exact = stitched(world, parent, assignment, to(output));
      CHECK(architecture(exact) == "step35");
      CHECK(farthest(nll_of_file(world, exact, parent.config, output, data), measured) < 1e-5);
      // Layers that lost an expert have a row of biases, and one without experts is dense.
      CHECK(exact.tensors.contains("blk.1.exp_probs_b.bias") == !whole);
      CHECK(exact.tensors.contains("blk.2.ffn_gate_exps.weight") == whole);
      CHECK(exact.tensors.contains("blk.2.ffn_gate.weight") == !whole);
      CHECK_FALSE(exact.tensors.contains("blk.0.exp_probs_b.bias"));
      CHECK(exact.number("step35.expert_count") == parent.config.mixture->experts);
      CHECK(fs::exists(output / "pruning.json"));

      const GgufFile bytes = stitched(world, parent, assignment, to(output.string() + "8", GgufType::q8_0));
      const double off =
          farthest(nll_of_file(world, bytes, parent.config, output.string() + "8", data), measured);
      CHECK(off < 0.1);
      CHECK(off > 0);
      for (const char* part : {"gate", "up", "down"})
        CHECK(bytes.tensors.at(fmt::format("blk.1.ffn_{}_exps.weight", part)).type == 8);
      CHECK(bytes.tensors.at("blk.1.ffn_gate_inp.weight").type == 0);
      CHECK(bytes.number("step35.expert_feed_forward_length") % 32 == 0);
    }
  }
}

TEST_CASE("mixtures whose layers are alike have their family's architecture of llama.cpp",
          "[gguf][mixture]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const auto check = [&](const fs::path& model, const std::string& name) {
    const HfConfig config = read_hf_config(model);
    const fs::path output = folder / (name + ".gguf");
    const GgufFile file = converted(world, model, to(output));
    CHECK(architecture(file) == name);
    CHECK(file.number(name + ".expert_count") == config.mixture->experts);
    CHECK(file.number(name + ".expert_used_count") == config.mixture->experts_per_token);
    CHECK(file.number(name + ".expert_feed_forward_length") == config.mixture->expert_size);
    CHECK(file.number(name + ".feed_forward_length") == config.mixture->expert_size);
    CHECK(file.number(name + ".attention.head_count") == config.heads);
    CHECK_FALSE(file.tensors.contains("blk.1.ffn_gate_shexp.weight"));
    const TokenSet data = test::random_tokens(config.vocab_size);
    CHECK(farthest(nll_of_file(world, file, config, output, data), test::nll_of_folder(world, model, data)) <
          1e-5);
  };
  check(test::data_file("models/mixtral_tiny"), "llama");
  const Json every_layer = {{"mlp_only_layers", Json::array()}};
  check(changed(world, "qwen3_moe_tiny", folder / "all", every_layer, mixtures_alone), "qwen3moe");

  // Weights of experts that do not sum up to 1 the families' own do not have.
  Json plain = every_layer;
  plain["norm_topk_prob"] = false;
  const fs::path model = changed(world, "qwen3_moe_tiny", folder / "plain", plain, mixtures_alone);
  const GgufFile file = converted(world, model, to(folder / "plain.gguf"));
  CHECK(architecture(file) == "step35");
  CHECK(file.number("step35.expert_gating_func") == 1);
  const HfConfig config = read_hf_config(model);
  const TokenSet data = test::random_tokens(config.vocab_size);
  CHECK(farthest(nll_of_file(world, file, config, folder / "plain.gguf", data),
                 test::nll_of_folder(world, model, data)) < 1e-5);
}

TEST_CASE("a mixture of one expert is a dense layer, and a tied head is written by itself",
          "[gguf][mixture]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path tied = changed(
      world, "qwen3_moe_tiny", folder / "tied", {{"tie_word_embeddings", true}},
      [](const Checkpoint& checkpoint) {
        std::vector<TensorEntry> entries = all_of(checkpoint);
        std::erase_if(entries, [](const TensorEntry& entry) { return entry.name == "lm_head.weight"; });
        return entries;
      });
  const Parent parent = test::mixture_parent(world, tied, folder);
  // All experts are gone but the last in layer 2, and all but one of each in the second file.
  for (const bool every : {false, true}) {
    CAPTURE(every);
    Assignment assignment = test::some_levels(parent.space, true);
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      const ModuleChoices& module = parent.space.modules[i];
      if (module.id.expert == no_expert || module.id.expert == parent.config.mixture->experts - 1) continue;
      if (every || module.id.layer == 2) assignment[i] = module.last();
    }
    const fs::path output = folder / (every ? "every" : "one");
    const GgufFile file = stitched(world, parent, assignment, to(output));
    CHECK_FALSE(file.tensors.contains("blk.2.ffn_gate_inp.weight"));
    CHECK(file.tensors.contains("blk.2.ffn_up.weight"));
    CHECK(file.metadata.contains("step35.expert_count") == !every);
    CHECK(file.tensors.at("output.weight").values == file.tensors.at("token_embd.weight").values);
    const TokenSet data = test::random_tokens(parent.config.vocab_size);
    CHECK(farthest(nll_of_file(world, file, parent.config, output, data),
                   test::nll_in_memory(world, parent, assignment, data)) < 1e-5);
  }
}

TEST_CASE("mixtures that llama.cpp cannot be told are refused by name, also as a plan", "[gguf][mixture]") {
  const ExportFormat& format = export_format_of("gguf");
  HfConfig config = read_hf_config(test::data_file("models/qwen3_moe_tiny"));
  const auto refusal = [&]() -> std::string {
    try {
      format.stored_shapes(config, {});
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  const auto says = [&](const std::string& what) {
    const std::string said = refusal();
    CAPTURE(said);
    return said.find(what) != std::string::npos && said.find("--format gguf") != std::string::npos &&
           said.find("choose --format hf") != std::string::npos;
  };
  CHECK(refusal() == "");
  config.mixture->experts_per_token = 4;
  config.layer_shapes[2].experts.resize(4);
  CHECK(refusal() == "");
  config.layer_shapes[2].experts.resize(3);
  CHECK(says("layer 2 has 3 experts left where a token goes to 4 in others"));
  config.mixture->experts_per_token = 2;
  CHECK(refusal() == "");
  config.mixture->renormalised = false;
  CHECK(says("layer 2 has 3 experts left where another has 6"));
  for (std::size_t layer : {1, 3}) config.layer_shapes[layer].experts.resize(3);
  config.mixture->experts_per_token = 4;
  CHECK(refusal() == "");  // all of them, everywhere
  config.layer_shapes[3].experts.assign(1025, 8);
  CHECK(says("at most 1024 experts"));
}
