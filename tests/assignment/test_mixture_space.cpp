// The search's view of mixtures of experts: their parameters, shapes, parts of shards and assignments.
#include "mixture.hpp"
#include "small_space.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <numeric>

#include <galapagos/assignment/space_part.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/pruning/build.hpp>

using namespace galapagos;
using test::contains;

namespace {

using test::Mixture;

std::string model() {
  return GENERATE(as<std::string>(), "qwen3_moe_tiny", "qwen3_moe_odd", "mixtral_tiny", "qwen3_moe_pruned",
                  "mixtral_pruned");
}

}  // namespace

TEST_CASE("the parameters of an assignment are those of the model that comes out", "[space]") {
  const Mixture mixture(model());
  CAPTURE(mixture.config.source.dump());
  std::mt19937 random(3);
  const auto check = [&](const Assignment& assignment) {
    HfConfig stitched = mixture.config;
    stitched.layer_shapes = mixture.space.shapes(mixture.config, assignment);
    CHECK(mixture.space.parameters(assignment) == parameters_in_model(stitched));
  };
  const Assignment dense(mixture.space.modules.size(), 0);
  check(dense);
  CHECK(mixture.space.parameters(dense) == parameters_in_model(mixture.config));
  for (int round = 0; round < 20; ++round) check(mixture.drawn(random));
  check(mixture.without_experts(dense, 1));
  check(mixture.without_experts(mixture.drawn(random), 1));
  check(mixture.without_experts(dense));
  Assignment last;
  for (const ModuleChoices& module : mixture.space.modules) last.push_back(module.last());
  check(last);
  CHECK(mixture.space.parameters(last) == parameters_outside_layers(mixture.config));
}

TEST_CASE("shapes are those of what is left, experts that are gone left out", "[space]") {
  const Mixture mixture("qwen3_moe_tiny");  // 4 levels: 6 columns of 24 each
  Assignment assignment(mixture.space.modules.size(), 0);
  constexpr ModuleKind ffn = ModuleKind::ffn;
  mixture.at(assignment, {1, ffn, 0}) = 4;
  mixture.at(assignment, {1, ffn, 2}) = 3;
  mixture.at(assignment, {1, ffn, 5}) = 4;
  mixture.at(assignment, {0, ffn}) = 1;
  mixture.at(assignment, {3, ModuleKind::attention}) = 4;
  assignment = mixture.without_experts(assignment, 2);
  const std::vector<LayerShape> shapes = mixture.space.shapes(mixture.config, assignment);
  CHECK(shapes[0].columns == 36);
  CHECK_FALSE(shapes[0].mixture());
  CHECK(shapes[1].experts == std::vector<std::int64_t>{24, 6, 24, 24});
  CHECK(shapes[1].columns == 78);
  CHECK(shapes[2].columns == 0);
  CHECK_FALSE(shapes[2].mixture());
  CHECK(shapes[3].heads() == 0);
  CHECK(shapes[3].experts == std::vector<std::int64_t>(6, 24));
  CHECK(shapes[3].columns == 144);
  CHECK(mixture.space.shapes(mixture.config, Assignment(assignment.size(), 0)) ==
        mixture.config.layer_shapes);
}

TEST_CASE("the experts of a layer are one part", "[space]") {
  const Mixture mixture(model());
  const auto& modules = mixture.space.modules;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const std::size_t begin = mixture.space.part_begin(i);
    CHECK(part_with(modules[begin].id) == part_with(modules[i].id));
    CHECK(begin <= i);
    if (begin > 0) CHECK(part_with(modules[begin - 1].id) != part_with(modules[i].id));
    if (modules[i].id.expert == no_expert) CHECK(begin == i);
  }
  CHECK(mixture.space.part_begin(modules.size()) == modules.size());
}

TEST_CASE("shards' parts cover every level of every expert once", "[space]") {
  const Mixture mixture(model());
  const int shards = GENERATE(1, 2, 3, 4, 5);
  CAPTURE(shards);
  const HfConfig& config = mixture.config;
  const auto& modules = mixture.space.modules;
  std::vector<SpacePart> parts;
  for (int shard = 0; shard < shards; ++shard)
    parts.push_back(part_of_space(mixture.space, config, shard, shards));
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const ModuleId& id = modules[i].id;
    for (std::size_t level = 0; level < modules[i].kept.size(); ++level) {
      std::vector<std::int64_t> covered;
      for (const SpacePart& part : parts) {
        const LayerPart& layer = part.model.layers[static_cast<std::size_t>(id.layer)];
        Range own = layer.columns;
        if (id.kind == ModuleKind::attention)
          own = {layer.heads.first * config.head_dim, layer.heads.last * config.head_dim};
        if (id.expert != no_expert)
          own = parts_of_experts(config.shape(id.layer), layer.columns)[static_cast<std::size_t>(id.expert)];
        const ModuleChoices& choices = part.space.modules[i];
        CHECK(part.first_kept[i][level] == std::ssize(covered));
        for (const std::int64_t column : choices.kept[level]) {
          CHECK((column >= 0 && column < own.count()));
          covered.push_back(own.first + column);
        }
        CHECK(choices.gone[level] == modules[i].kept[level].empty());
        if (id.expert != no_expert && level == 0)
          CHECK(part.model.config.shape(id.layer).experts[static_cast<std::size_t>(id.expert)] ==
                own.count());
      }
      CHECK(covered == modules[i].kept[level]);
    }
  }
  // Every shard has as many experts as are left, some of them with nothing of their own.
  std::mt19937 random(5);
  const Assignment assignment = mixture.without_experts(mixture.drawn(random), 2);
  const std::vector<LayerShape> whole = mixture.space.shapes(config, assignment);
  std::vector<std::vector<std::int64_t>> sums;
  for (const LayerShape& shape : whole) sums.emplace_back(shape.experts.size(), 0);
  for (const SpacePart& part : parts) {
    const HfConfig own = config_of(part, assignment);
    for (std::size_t layer = 0; layer < whole.size(); ++layer) {
      const std::vector<std::int64_t>& experts = own.layer_shapes[layer].experts;
      CHECK(experts.size() == whole[layer].experts.size());
      for (std::size_t e = 0; e < std::min(experts.size(), sums[layer].size()); ++e)
        sums[layer][e] += experts[e];
    }
  }
  for (std::size_t layer = 0; layer < whole.size(); ++layer) CHECK(sums[layer] == whole[layer].experts);
}

TEST_CASE("an assignment names every expert", "[space]") {
  const test::TemporaryFolder folder;
  const Mixture mixture("qwen3_moe_tiny");
  std::mt19937 random(7);
  const Assignment assignment = mixture.drawn(random);
  const std::string text = to_text(mixture.space, assignment);
  const auto read = [&](const std::string& changed) {
    test::write_text(folder / "a.txt", changed);
    return read_assignment(mixture.space, folder / "a.txt");
  };
  CHECK(read(text) == assignment);
  CHECK(contains(text, "\nmodel.layers.1.mlp.experts.0.down_proj: "));
  const std::string name = GENERATE(as<std::string>(), "model.layers.1.mlp.experts.0.down_proj",
                                    "model.layers.3.mlp.experts.5.down_proj");
  const std::size_t begin = text.find(name), end = text.find('\n', begin) + 1;
  const auto refusal = [&](const std::string& changed) {
    return test::message_of<InputError>([&] { read(changed); });
  };
  CHECK(contains(refusal(text.substr(0, begin) + text.substr(end)), "no line for " + name));
  CHECK(contains(refusal(text + name + ": 0\n"), "stands there twice"));
  CHECK(contains(refusal(text + "model.layers.1.mlp.down_proj: 0\n"), "unknown module"));
  CHECK(contains(refusal(text + "model.layers.1.mlp.experts.6.down_proj: 0\n"), "unknown module"));
  CHECK(contains(refusal(text + "model.layers.0.mlp.experts.0.down_proj: 0\n"), "unknown module"));
  CHECK(contains(refusal(text.substr(0, begin) + name + ": 5\n" + text.substr(end)), "has levels 0 to 4"));
}
