#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>

using namespace galapagos;

using test::farthest;
using test::nll_in_memory;
using test::nll_of_folder;
using test::Parent;
using test::random_tokens;
using test::with_holes;

TEST_CASE("both formats hold the model that the search measures, and can be pruned again", "[stitch]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "llama2_tiny", "biased_tiny",
                           "phi3_tiny", "gemma3_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = test::small_parent(world, name, folder);
    const Assignment assignment = with_holes(parent.space);
    const TokenSet data = random_tokens(parent.config.vocab_size);
    const std::vector<double> in_memory = nll_in_memory(world, parent, assignment, data);
    for (const char* format : {"hf", "dense"}) {
      StitchOptions options;
      options.formats = {&export_format_of(format)};
      options.output = folder / format;
      options.shard_bytes = 50000;
      stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
      CHECK(std::filesystem::exists(options.output / "model.safetensors.index.json"));
      CHECK(!std::filesystem::exists(part_path(options.output)));
      CHECK(farthest(nll_of_folder(world, options.output, data), in_memory) < 1e-5);
    }
    const HfConfig pruned = read_hf_config(folder / "hf");
    CHECK(pruned.shape(0).heads() == 0);
    CHECK(pruned.shape(1).columns == 0);
    CHECK(pruned.layer_shapes == parent.space.shapes(parent.config, assignment));
    CHECK(read_hf_config(folder / "dense").layer_shapes == parent.config.layer_shapes);

    // A second round: levels of what is left.
    DatabaseOptions again = test::small_database(name, folder / "b.h5");
    again.model = folder / "hf";
    again.levels = 3;
    build_database(world, ops::Context(), again);
    const Parent second(world, folder / "hf", folder / "b.h5");
    CHECK(second.space.modules.size() < parent.space.modules.size());
    Assignment more;
    for (const ModuleChoices& module : second.space.modules) {
      more.push_back(std::min<std::int16_t>(module.last(), static_cast<std::int16_t>(module.id.layer % 3)));
    }
    StitchOptions options;
    options.output = folder / "hf2";
    stitch(world, second.checkpoint, second.config, second.database, second.space, more, options);
    const std::vector<double> twice = nll_in_memory(world, second, more, data);
    CHECK(farthest(nll_of_folder(world, options.output, data), twice) < 1e-5);

    // The second description counts in the numbers of the unpruned model: its columns are some of the
    // first's.
    const Json first_kept = read_json(folder / "hf" / "pruning.json"),
               kept = read_json(options.output / "pruning.json");
    CHECK(kept["dense"]["columns"] == parent.config.intermediate_size);
    for (std::size_t layer = 0; layer < kept["layers"].size(); ++layer) {
      const auto columns = kept["layers"][layer]["ffn"].get<std::vector<std::int64_t>>();
      const auto before = first_kept["layers"][layer]["ffn"].get<std::vector<std::int64_t>>();
      CHECK(std::includes(before.begin(), before.end(), columns.begin(), columns.end()));
      CHECK(static_cast<std::int64_t>(columns.size()) ==
            read_hf_config(options.output).shape(static_cast<std::int64_t>(layer)).columns);
    }
  }
}

TEST_CASE("a stored level 0 is exported, and measured alike by all", "[stitch]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny"}) {
    build_database(world, ops::Context(),
                   test::on_path(world, test::small_database(name, folder / (std::string(name) + ".h5")), 1,
                                 1, Compensation{0.1}));
    const Parent parent(world, test::data_file(std::string("models/") + name),
                        folder / (std::string(name) + ".h5"));
    const TokenSet data = random_tokens(parent.config.vocab_size);
    const Assignment nothing_removed(parent.space.modules.size(), 0);
    const std::vector<double> unpruned = nll_of_folder(world, parent.folder, data);
    for (const Assignment& assignment : {nothing_removed, with_holes(parent.space)}) {
      const std::vector<double> in_memory = nll_in_memory(world, parent, assignment, data);
      CHECK(farthest(in_memory, unpruned) > 1e-4);
      for (const char* format : {"hf", "dense"}) {
        StitchOptions options;
        options.formats = {&export_format_of(format)};
        options.output =
            folder / (std::string(name) + "_" + format + (assignment == nothing_removed ? "_0" : ""));
        stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
        CHECK(farthest(nll_of_folder(world, options.output, data), in_memory) < 1e-5);
      }
    }
  }
}

TEST_CASE("pruning.json lists what is kept", "[stitch]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Parent parent = test::small_parent(world, "llama3_tiny", folder);
  const Assignment assignment(parent.space.modules.size(), 1);
  StitchOptions options;
  options.output = folder / "hf";
  stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
  const Json kept = read_json(options.output / "pruning.json");
  CHECK(kept["parameters"] == parent.space.parameters(assignment));
  for (std::size_t i = 0; i < parent.space.modules.size(); ++i) {
    const ModuleChoices& module = parent.space.modules[i];
    const Json& layer = kept["layers"][static_cast<std::size_t>(module.id.layer)];
    std::vector<std::int64_t> columns;
    if (module.id.kind == ModuleKind::ffn) {
      columns = layer["ffn"].get<std::vector<std::int64_t>>();
    } else {
      for (const Json& group : layer["attention"]) {
        for (const Json& head : group["heads"]) {
          CHECK(head.get<std::int64_t>() / 2 ==
                group["kv_head"].get<std::int64_t>());  // 8 heads on 4 KV heads
          for (std::int64_t d = 0; d < parent.config.head_dim; ++d) {
            columns.push_back(head.get<std::int64_t>() * parent.config.head_dim + d);
          }
        }
      }
    }
    CHECK(columns == module.kept[1]);
  }
}

TEST_CASE("what is there already is not overwritten", "[stitch]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Parent parent = test::small_parent(world, "llama3_tiny", folder);
  StitchOptions options;
  options.output = folder / "hf";
  if (world.is_root()) std::filesystem::create_directory(options.output);
  world.barrier();
  int code = 0;
  try {
    stitch(world, parent.checkpoint, parent.config, parent.database, parent.space,
           Assignment(parent.space.modules.size(), 1), options);
  } catch (const Error& error) {
    code = static_cast<int>(error.code());
  }
  CHECK(code == 3);
  CHECK(std::filesystem::is_empty(options.output));
}
