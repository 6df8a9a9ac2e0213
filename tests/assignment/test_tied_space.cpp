// Experts that have one level together, in the search's view.
#include "mixture.hpp"
#include "small_space.hpp"
#include "support/catch.hpp"

#include <galapagos/assignment/tied_space.hpp>
#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::contains, test::Mixture;

namespace {

Assignment drawn(const SearchSpace& space, std::mt19937& random) {
  Assignment assignment;
  for (const ModuleChoices& module : space.modules)
    assignment.push_back(static_cast<std::int16_t>(random() % static_cast<unsigned>(module.last() + 1)));
  return assignment;
}

/// The level that all experts of a layer, or those of the model, have; -2 where they have several.
std::int16_t common_level(const SearchSpace& whole, const Assignment& levels, std::int64_t layer) {
  std::int16_t common = -1;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const ModuleId& id = whole.modules[i].id;
    if (id.expert == no_expert || (layer >= 0 && id.layer != layer)) continue;
    common = common == -1 || common == levels[i] ? levels[i] : std::int16_t{-2};
  }
  return common;
}

}  // namespace

TEST_CASE("experts of a layer, or of the model, have one level together", "[space]") {
  Mixture mixture("qwen3_moe_tiny");  // a dense layer and three of 6 experts
  std::mt19937 random(5);
  mixture.space = test::with_end_losses(mixture.space, random);
  const ExpertTie tie = GENERATE(ExpertTie::equal, ExpertTie::uniform);
  const SearchSpace tied = tied_space(mixture.space, tie);
  REQUIRE(tied.modules.size() == (tie == ExpertTie::equal ? 8 : 6));
  CHECK(&tied.every_module() == tied.whole.get());
  CHECK(tied.dense_parameters() == mixture.space.dense_parameters());
  CHECK(tied.smallest_parameters() == mixture.space.smallest_parameters());
  CHECK(tied.part_begins().size() == tied.modules.size() + 1);
  const test::TemporaryFolder folder;
  for (int round = 0; round < 20; ++round) {
    const Assignment assignment = drawn(tied, random);
    const Assignment levels = tied.of_every_module(assignment);
    REQUIRE(levels.size() == mixture.space.modules.size());
    for (std::int64_t layer = 1; layer < 4; ++layer) CHECK(common_level(mixture.space, levels, layer) >= 0);
    CHECK((common_level(mixture.space, levels, -1) >= 0) >= (tie == ExpertTie::uniform));
    CHECK(tied.parameters(assignment) == mixture.space.parameters(levels));
    CHECK(tied.predicted_loss(assignment) == mixture.space.predicted_loss(levels));  // in 1024ths
    CHECK(tied.shapes(mixture.config, assignment) == mixture.space.shapes(mixture.config, levels));
    CHECK(to_text(tied, assignment) == to_text(mixture.space, levels));
    test::write_text(folder / "a.txt", to_text(tied, assignment));
    CHECK(read_assignment(tied, folder / "a.txt") == assignment);
  }
}

TEST_CASE("levels that were to be equal and are not are refused", "[space]") {
  const test::TemporaryFolder folder;
  const Mixture mixture("mixtral_tiny");
  const SearchSpace tied = tied_space(mixture.space, ExpertTie::equal);
  Assignment levels(mixture.space.modules.size(), 1);
  mixture.at(levels, {1, ModuleKind::ffn, 2}) = 3;
  test::write_text(folder / "a.txt", to_text(mixture.space, levels));
  const std::string error = test::message_of<InputError>([&] { read_assignment(tied, folder / "a.txt"); });
  CHECK(contains(error,
                 "model.layers.1.mlp.experts.0.down_proj is at level 1 and "
                 "model.layers.1.mlp.experts.2.down_proj at level 3"));
  CHECK(contains(error, "--experts free"));
}

TEST_CASE("what cannot be tied is refused, and free ties nothing", "[space]") {
  const auto refusal = [](const SearchSpace& space, ExpertTie tie) {
    return test::message_of<UsageError>([&] { tied_space(space, tie); });
  };
  const SearchSpace dense = test::even_space(2, 4);
  CHECK(contains(refusal(dense, ExpertTie::equal), "no experts"));
  CHECK(tied_space(dense, ExpertTie::free).modules.size() == 4);
  const Mixture mixture("qwen3_moe_pruned");  // widths differ from layer to layer
  CHECK(contains(refusal(mixture.space, ExpertTie::uniform), "not the same levels"));
  CHECK(tied_space(mixture.space, ExpertTie::free).whole == nullptr);
}
