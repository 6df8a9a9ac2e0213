// Exports of mixtures of experts of which columns, experts and all experts of a layer are gone.
#include "mixture_parent.hpp"
#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/model/model_weights.hpp>

using namespace galapagos;
using test::farthest;
using test::mixture_parent;
using test::nll_in_memory;
using test::nll_of_folder;
using test::Parent;
using test::random_tokens;
using test::some_levels;

namespace {

StitchOptions to(const std::filesystem::path& output, const char* format = "hf") {
  StitchOptions options;
  options.formats = {&export_format_of(format)};
  options.output = output;
  options.shard_bytes = 50000;
  return options;
}

/// The exit code of a collective export; 0 where it went well.
int code_of_stitch(const Communicator& world, const Parent& parent, const Assignment& assignment,
                   const StitchOptions& options) {
  try {
    stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
    return 0;
  } catch (const Error& error) {
    return error.agreed() ? static_cast<int>(error.code()) : -1;
  }
}

std::map<std::string, std::vector<float>> values_of(const ModelSource& source) {
  const ModelWeights weights = load_model_weights(source);
  std::map<std::string, std::vector<float>> values;
  for (const NamedTensor& parameter : parameters_of(weights)) {
    const auto span = parameter.tensor.float_span();
    values[parameter.name] = {span.begin(), span.end()};
  }
  return values;
}

std::map<std::string, std::vector<float>> stitched_values(const Parent& parent,
                                                          const Assignment& assignment) {
  const ops::Context context;
  return values_of(stitched_source(context, parent.checkpoint, parent.config, parent.database, parent.space,
                                   assignment, DType::f32));
}

std::map<std::string, std::vector<float>> folder_values(const std::filesystem::path& folder) {
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  return values_of(checkpoint_source(checkpoint, config, DType::f32, Device::cpu));
}

/// Rows of a tensor of the checkpoint, and of each the columns given, or all.
std::vector<float> rows_of(const Checkpoint& checkpoint, const std::string& name,
                           const std::vector<std::int64_t>& rows) {
  const auto& shape = checkpoint.entry(name).shape;
  const std::vector<float> all = checkpoint.read_float(name, shape);
  std::vector<float> values;
  for (const std::int64_t row : rows) {
    const auto first = all.begin() + row * shape[1];
    values.insert(values.end(), first, first + shape[1]);
  }
  return values;
}

/// That what pruning.json says is left of mixtures, in the numbers of the unpruned model, is what the export
/// has: routers' rows, gates and ups, which no level changes.
void check_origins(const Checkpoint& unpruned, const std::filesystem::path& folder) {
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const Json layers = read_json(folder / "pruning.json")["layers"];
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::vector<std::int64_t>& left = config.shape(layer).experts;
    const Json experts = layers[static_cast<std::size_t>(layer)].value("experts", Json::array());
    CHECK(experts.size() == left.size());
    if (left.empty() || experts.size() != left.size()) continue;
    std::vector<std::int64_t> numbers;
    for (std::size_t e = 0; e < left.size(); ++e) {
      const auto number = experts[e]["expert"].get<std::int64_t>();
      const auto columns = experts[e]["columns"].get<std::vector<std::int64_t>>();
      numbers.push_back(number);
      CHECK(std::ssize(columns) == left[e]);
      for (const char* part : {"gate_proj", "up_proj"}) {
        const auto name = [&](std::int64_t expert) {
          return fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert, part);
        };
        CHECK(checkpoint.read_float(name(static_cast<std::int64_t>(e)), {left[e], config.hidden_size}) ==
              rows_of(unpruned, name(number), columns));
      }
    }
    const std::string router = fmt::format("model.layers.{}.mlp.gate.weight", layer);
    CHECK(checkpoint.read_float(router, {std::ssize(left), config.hidden_size}) ==
          rows_of(unpruned, router, numbers));
  }
}

}  // namespace

TEST_CASE("an export of a mixture holds what the search measures, and can be pruned again", "[mixture]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"qwen3_moe_tiny", "mixtral_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = mixture_parent(world, test::data_file("models") / name, folder);
    const Assignment assignment = some_levels(parent.space);
    const TokenSet data = random_tokens(parent.config.vocab_size);
    CHECK(code_of_stitch(world, parent, assignment, to(folder / "hf")) == 0);
    const std::vector<double> in_memory = nll_in_memory(world, parent, assignment, data);
    CHECK(farthest(nll_of_folder(world, folder / "hf", data), in_memory) < 1e-6);
    CHECK(farthest(nll_of_folder(world, parent.folder, data), in_memory) > 1e-3);
    CHECK(folder_values(folder / "hf") == stitched_values(parent, assignment));

    const HfConfig pruned = read_hf_config(folder / "hf");
    CHECK(pruned.layer_shapes == parent.space.shapes(parent.config, assignment));
    CHECK(pruned.mixture == parent.config.mixture);
    CHECK(pruned.model_type == parent.config.model_type);
    CHECK_FALSE(pruned.shape(2).mixture());
    const Json description = read_json(folder / "hf" / "pruning.json");
    CHECK(description["parameters"] == parameters_in_model(pruned));
    CHECK(description["dense"]["experts"]["count"] == parent.config.mixture->experts);
    CHECK(description["dense"]["experts"]["columns"] == parent.config.mixture->expert_size);
    CHECK(description["layers"][2]["experts"].empty());
    CHECK(description["layers"][1]["experts"][0]["expert"] == 1);
    check_origins(parent.checkpoint, folder / "hf");
    // Experts have the numbers from 0 on, and of a layer without experts there is no tensor.
    const Checkpoint checkpoint(folder / "hf");
    const std::int64_t left = parent.config.mixture->experts - 2;
    CHECK(checkpoint.has(fmt::format("model.layers.1.mlp.experts.{}.down_proj.weight", left - 1)));
    CHECK_FALSE(checkpoint.has(fmt::format("model.layers.1.mlp.experts.{}.down_proj.weight", left)));
    for (const std::string& tensor : checkpoint.names()) {
      CHECK(tensor.find("layers.2.mlp") == std::string::npos);
      CHECK(tensor != "model.layers.2.post_attention_layernorm.weight");
    }

    // Once more, in the numbers of the unpruned model.
    const Parent second = mixture_parent(world, folder / "hf", folder, "b");
    Assignment more;
    for (const ModuleChoices& module : second.space.modules)
      more.push_back(module.id == ModuleId{1, ModuleKind::ffn, 1} ? module.last() : std::int16_t{1});
    CHECK(code_of_stitch(world, second, more, to(folder / "hf2")) == 0);
    CHECK(farthest(nll_of_folder(world, folder / "hf2", data), nll_in_memory(world, second, more, data)) <
          1e-6);
    CHECK(folder_values(folder / "hf2") == stitched_values(second, more));
    check_origins(parent.checkpoint, folder / "hf2");
    const Json kept = read_json(folder / "hf2" / "pruning.json")["layers"][1]["experts"];
    std::vector<std::int64_t> numbers;
    for (const Json& expert : kept) numbers.push_back(expert["expert"].get<std::int64_t>());
    std::vector<std::int64_t> wanted = {1, 4};  // of those left, 1, 2 and 4 and on, the second is gone now
    if (parent.config.mixture->experts == 6) wanted.push_back(5);
    CHECK(numbers == wanted);
  }
}

TEST_CASE("a dense export of a mixture equals it where no expert is gone, else it is refused", "[mixture]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"qwen3_moe_tiny", "mixtral_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = mixture_parent(world, test::data_file("models") / name, folder);
    const TokenSet data = random_tokens(parent.config.vocab_size);
    const Assignment whole = some_levels(parent.space, true);
    CHECK(code_of_stitch(world, parent, whole, to(folder / "dense", "dense")) == 0);
    CHECK(farthest(nll_of_folder(world, folder / "dense", data), nll_in_memory(world, parent, whole, data)) <
          1e-5);
    CHECK(read_hf_config(folder / "dense").layer_shapes == parent.config.layer_shapes);
    CHECK(read_hf_config(folder / "dense").source["model_type"] == parent.config.source["model_type"]);

    // The files' own names are the family's.
    std::set<std::string> stored, wanted;
    const auto names_in = [](const std::filesystem::path& where, std::set<std::string>& names) {
      for (const auto& file : std::filesystem::directory_iterator(where)) {
        if (file.path().extension() != ".safetensors") continue;
        const SafetensorsFile tensors(file.path());
        for (const TensorEntry& entry : tensors.entries()) names.insert(entry.name);
      }
    };
    names_in(folder / "dense", stored);
    names_in(parent.folder, wanted);
    CHECK(stored == wanted);

    for (const bool all : {false, true}) {
      Assignment gone = whole;
      for (std::size_t i = 0; i < gone.size(); ++i) {
        const ModuleId& id = parent.space.modules[i].id;
        if (id.layer == 1 && (id.expert == 2 || (all && id.expert != no_expert)))
          gone[i] = parent.space.modules[i].last();
      }
      CHECK(code_of_stitch(world, parent, gone, to(folder / "refused", "dense")) == 2);
      StitchOptions both = to(folder / "refused");
      both.formats.push_back(&export_format_of("dense"));
      CHECK(code_of_stitch(world, parent, gone, both) == 2);
    }
    CHECK(code_of_stitch(world, parent, whole, to(folder / "refused", "decilm")) == 2);
    CHECK_FALSE(std::filesystem::exists(folder / "refused"));
  }
}

TEST_CASE("shards of a mixture under an assignment are slices of the whole", "[mixture]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const Parent parent = mixture_parent(world, test::data_file("models/qwen3_moe_tiny"), folder);
  const ops::Context context;
  for (const Assignment& assignment : {some_levels(parent.space), some_levels(parent.space, true)}) {
    const auto source = [&](int shard, int shards) {
      return stitched_source(context, parent.checkpoint, parent.config, parent.database, parent.space,
                             assignment, DType::f32, shard, shards);
    };
    const auto floats = [](const Tensor& tensor) {
      const auto span = tensor.float_span();
      return std::vector<float>(span.begin(), span.end());
    };
    const ModelWeights whole = load_model_weights(source(0, 1));
    for (const int shards : {2, 3, 5}) {
      std::vector<ModelWeights> parts;
      for (int shard = 0; shard < shards; ++shard) parts.push_back(load_model_weights(source(shard, shards)));
      for (std::size_t layer = 0; layer < whole.layers.size(); ++layer) {
        const FfnWeights& ffn = whole.layers[layer].ffn;
        std::int64_t columns = 0;
        for (const ModelWeights& part : parts) {
          const FfnWeights& own = part.layers[layer].ffn;
          columns += own.columns;
          CHECK(own.present() == ffn.present());
          CHECK(own.experts.size() == ffn.experts.size());
          if (ffn.mixture()) CHECK(floats(own.router) == floats(ffn.router));
        }
        CHECK(columns == ffn.columns);
        for (std::size_t e = 0; e < ffn.experts.size(); ++e) {
          const ExpertWeights& expert = *ffn.experts[e];
          std::vector<float> gate, up;
          std::int64_t first = 0;
          for (const ModelWeights& part : parts) {
            const ExpertWeights& own = *part.layers[layer].ffn.experts.at(e);
            if (own.columns == 0) continue;
            const std::vector<float> its_gate = floats(own.gate), its_up = floats(own.up);
            gate.insert(gate.end(), its_gate.begin(), its_gate.end());
            up.insert(up.end(), its_up.begin(), its_up.end());
            bool same = true;
            for (std::int64_t row = 0; row < parent.config.hidden_size; ++row) {
              for (std::int64_t c = 0; c < own.columns; ++c)
                same = same && own.down->floats()[row * own.columns + c] ==
                                   expert.down->floats()[row * expert.columns + first + c];
            }
            CHECK(same);
            first += own.columns;
          }
          CHECK(first == expert.columns);
          CHECK(gate == floats(expert.gate));
          CHECK(up == floats(expert.up));
        }
      }
    }
  }
}
