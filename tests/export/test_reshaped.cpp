#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>

using namespace galapagos;
using test::farthest;
using test::Parent;

namespace {

namespace fs = std::filesystem;

StitchOptions to(const fs::path& output, std::vector<std::string> formats) {
  StitchOptions options;
  options.output = output;
  options.formats = export_formats_of(formats);
  options.shard_bytes = 60000;
  return options;
}

/// The columns of a block as engines count them: 2/3 of ffn_mult times hidden, whole, in multiples of 256.
std::int64_t columns_of(double multiplier, std::int64_t hidden) {
  const auto whole = static_cast<std::int64_t>(2 * multiplier * static_cast<double>(hidden) / 3);
  return (whole + 255) / 256 * 256;
}

}  // namespace

TEST_CASE("a DeciLM folder holds the model that was measured", "[decilm]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "llama2_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = test::small_parent(world, name, folder);
    const Assignment assignment = test::with_holes(parent.space);
    const TokenSet data = test::random_tokens(parent.config.vocab_size);
    stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment,
           to(folder / "both", {"hf", "decilm"}));
    const fs::path output = folder / "both/decilm";
    const Json json = read_json(output / "config.json");
    CHECK(json["model_type"] == "nemotron-nas");
    CHECK(json["qkv_bias"] == parent.config.features.qkv_bias);
    HfConfig config = parent.config;
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      const Json& block = json["block_configs"][static_cast<std::size_t>(layer)];
      LayerShape shape;
      if (block["attention"]["no_op"] == false) {
        const auto group = block["attention"]["n_heads_in_group"].get<std::int64_t>();
        CHECK(config.heads % group == 0);
        shape = even_layer_shape(config.heads, config.heads / group, 0);
      }
      if (block["ffn"]["no_op"] == false)
        shape.columns = columns_of(block["ffn"]["ffn_mult"], config.hidden_size);
      config.layer_shapes[static_cast<std::size_t>(layer)] = shape;
      config.kv_heads = std::max(config.kv_heads, shape.kv_heads);
      config.intermediate_size = std::max(config.intermediate_size, shape.columns);
    }
    CHECK(config.shape(0).heads() > 0);
    CHECK(config.shape(1).columns == 0);
    const Checkpoint checkpoint(output);
    CHECK(farthest(test::nll_of(world, checkpoint_source(checkpoint, config, DType::f32, Device::cpu), data),
                   test::nll_of_folder(world, folder / "both/hf", data)) < 1e-5);
    CHECK(fs::exists(output / "configuration_decilm.py"));
  }
}

TEST_CASE("a pruned model's folder becomes any format without a database", "[stitch]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "phi3_tiny", "gemma3_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = test::small_parent(world, name, folder);
    const TokenSet data = test::random_tokens(parent.config.vocab_size);
    stitch(world, parent.checkpoint, parent.config, parent.database, parent.space,
           test::with_holes(parent.space), to(folder / "pruned", {"hf"}));
    const std::vector<double> measured = test::nll_of_folder(world, folder / "pruned", data);
    const Checkpoint checkpoint(folder / "pruned");
    const HfConfig pruned = read_hf_config(folder / "pruned");
    convert_model(world, checkpoint, pruned, to(folder / "again", {"hf", "dense"}));
    CHECK(farthest(test::nll_of_folder(world, folder / "again/hf", data), measured) < 1e-6);
    CHECK(read_hf_config(folder / "again/hf").layer_shapes == pruned.layer_shapes);
    // What its own class loads: the parent's shapes and type.
    CHECK(farthest(test::nll_of_folder(world, folder / "again/dense", data), measured) < 1e-5);
    const HfConfig dense = read_hf_config(folder / "again/dense");
    CHECK(dense.layer_shapes == parent.config.layer_shapes);
    CHECK(dense.model_type == parent.config.model_type);
    CHECK(dense.source["model_type"] == parent.config.source["model_type"]);
    CHECK_FALSE(dense.source.contains("auto_map"));
    CHECK(Checkpoint(folder / "again/dense").stored() ==
          parent.checkpoint.stored());  // as one where the family has it so
    CHECK(read_file(folder / "again/hf/pruning.json") == read_file(folder / "pruned/pruning.json"));
  }
}

TEST_CASE("several formats are there together or not at all", "[stitch]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path model = test::data_file("models/llama2_tiny");
  const Checkpoint checkpoint(model);
  const HfConfig config = read_hf_config(model);
  convert_model(world, checkpoint, config, to(folder / "all", {"gguf", "hf", "dense", "decilm"}));
  for (const char* name : {"gguf", "hf", "dense", "decilm"}) CHECK(fs::is_directory(folder / "all" / name));
  CHECK_THROWS_AS(convert_model(world, checkpoint, config, to(folder / "all", {"gguf", "hf"})), Error);
  // What a run that was stopped left is in nobody's way.
  if (world.is_root()) make_folders(part_path(folder / "new") / "hf");
  world.barrier();
  convert_model(world, checkpoint, config, to(folder / "new", {"hf", "decilm"}));
  CHECK_FALSE(fs::exists(part_path(folder / "new")));
}
