// The mean diagonal that an expert's damping is at least a share of.
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/pruning/expert_use.hpp>

using namespace galapagos;

TEST_CASE("the least mean diagonal is that of all experts of a layer", "[mixture]") {
  const HfConfig config = read_hf_config(test::data_file("models/qwen3_moe_pruned"));
  REQUIRE(config.shape(1).experts == std::vector<std::int64_t>{24, 7, 1, 12});
  const auto expert = [](std::int64_t layer, std::int64_t i) { return ModuleId{layer, ModuleKind::ffn, i}; };
  ExpertUses uses;
  uses[expert(1, 0)].squares = 48;
  uses[expert(1, 1)].squares = 21;
  uses[expert(1, 3)].squares = 6;  // to expert 2 no token went
  uses[expert(2, 0)].squares = 900;
  const double wanted = 2.0 / 10 * (48.0 / 24 + 21.0 / 7 + 0 + 6.0 / 12) / 4;
  for (std::int64_t i = 0; i < 4; ++i)
    CHECK(least_mean_diagonal(config, uses, expert(1, i), 10) == Approx(wanted));
  CHECK(least_mean_diagonal(config, uses, expert(2, 0), 10) == Approx(2.0 / 10 * 900 / 9));
  CHECK(least_mean_diagonal(config, uses, {1, ModuleKind::attention}, 10) == 0);
  CHECK(least_mean_diagonal(config, uses, {0, ModuleKind::ffn}, 10) == 0);
  CHECK(least_mean_diagonal(config, {}, expert(1, 0), 10) == 0);
}

TEST_CASE("an expert's score is the mean of its outputs over its tokens", "[mixture]") {
  ExpertUse use{4, 1.5, 6, 9};
  CHECK(use.reap() == 1.5);
  use += {2, 0.5, 9, 1};
  CHECK(use.tokens == 6);
  CHECK(use.weights == 2);
  CHECK(use.squares == 10);
  CHECK(use.reap() == 2.5);
  CHECK(ExpertUse().reap() == 0);
}

TEST_CASE("modules of a mixture are its experts, its part of a layer one", "[mixture]") {
  const HfConfig config = read_hf_config(test::data_file("models/qwen3_moe_pruned"));
  using Modules = std::vector<ModuleId>;
  constexpr ModuleKind attention = ModuleKind::attention, ffn = ModuleKind::ffn;
  CHECK(modules_of(config) == Modules{{0, ffn},
                                      {1, attention},
                                      {1, ffn, 0},
                                      {1, ffn, 1},
                                      {1, ffn, 2},
                                      {1, ffn, 3},
                                      {2, attention},
                                      {2, ffn, 0},
                                      {3, attention}});
  CHECK(parts_of(config) ==
        Modules{{0, ffn}, {1, attention}, {1, ffn}, {2, attention}, {2, ffn}, {3, attention}});
  CHECK(part_with({1, ffn, 3}) == ModuleId{1, ffn});
  std::vector<std::int64_t> columns, first;
  for (const ModuleId& module : modules_of(config)) {
    columns.push_back(module_columns(config, module));
    first.push_back(first_column(config, module));
  }
  CHECK(columns == std::vector<std::int64_t>{20, 32, 24, 7, 1, 12, 16, 9, 32});
  CHECK(first == std::vector<std::int64_t>{0, 0, 0, 24, 31, 32, 0, 0, 0});
}
