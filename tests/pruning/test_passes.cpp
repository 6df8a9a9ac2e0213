#include "support/catch.hpp"

#include <algorithm>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/passes.hpp>

using namespace galapagos;

namespace {

HfConfig llama_7b() {
  HfConfig config;
  config.model_type = "llama";
  config.hidden_size = 4096;
  config.layers = 32;
  config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  config.intermediate_size = 11008;
  config.vocab_size = 32000;
  config.layer_shapes.assign(32, even_layer_shape(32, 32, 11008));
  return config;
}

}  // namespace

TEST_CASE("passes cover every module once and keep within the limit", "[passes]") {
  const HfConfig config = llama_7b();
  const PassExtent extent = {DType::bf16, 4096, GENERATE(Device::cpu, Device::cuda)};
  std::vector<ModuleId> modules;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    modules.push_back({layer, ModuleKind::attention});
    modules.push_back({layer, ModuleKind::ffn});
  }
  for (const int ranks : {1, 4, 32}) {
    const PipelineGrid grid = make_pipeline_grid(std::vector<double>(32, 1.0), ranks, 0);
    CHECK(plan_passes(config, grid, extent, modules, 0).size() == 1);
    std::size_t before = 1;
    for (const std::uint64_t gibibytes : {64, 32, 20}) {
      const std::uint64_t limit = gibibytes << 30;
      const auto passes = plan_passes(config, grid, extent, modules, limit);
      CHECK(passes.size() >= before);
      before = passes.size();
      std::set<ModuleId> seen;
      for (const auto& pass : passes) {
        CHECK(!pass.empty());
        for (const ModuleId& module : pass) CHECK(seen.insert(module).second);
        for (const LayerSpan& span : grid.spans)
          CHECK(stage_memory(config, span, extent, pass).peak() <= limit);
      }
      CHECK(seen.size() == modules.size());
    }
    CHECK((ranks != 1 || before > 1));
    CHECK_THROWS_AS(plan_passes(config, grid, extent, modules, std::uint64_t{1} << 30), ResourceError);
  }
}

TEST_CASE("modules are dealt to ranks by cost", "[passes]") {
  const HfConfig config = llama_7b();
  const PipelineGrid grid = make_pipeline_grid(std::vector<double>(32, 1.0), 4, 0);
  std::vector<ModuleId> modules;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    modules.push_back({layer, ModuleKind::attention});
    modules.push_back({layer, ModuleKind::ffn});
  }
  for (const int ranks : {1, 3, 4, 100}) {
    const std::vector<int> owners =
        assign_owners(modules, config, make_pipeline_grid(std::vector<double>(32, 1.0), ranks, 0), ranks);
    std::vector<int> ffn(static_cast<std::size_t>(ranks), 0);
    for (std::size_t i = 0; i < modules.size(); ++i) {
      REQUIRE(owners[i] >= 0);
      REQUIRE(owners[i] < ranks);
      if (modules[i].kind == ModuleKind::ffn) ++ffn[static_cast<std::size_t>(owners[i])];
    }
    const auto [least, most] = std::minmax_element(ffn.begin(), ffn.end());
    CHECK(*most - *least <= 1);
  }
}
