#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <cmath>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/hessian.hpp>

using namespace galapagos;

TEST_CASE("Hessians are (2/N) sum x x^T of what reaches o_proj and down_proj, for any grid", "[hessian]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const std::filesystem::path folder = test::data_file("models/qwen2_tiny");
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  std::mt19937 random(4);
  std::vector<std::int32_t> tokens;
  std::vector<std::uint64_t> offsets = {0};
  for (int sequence = 0; sequence < 11; ++sequence) {
    for (std::size_t i = 1 + random() % 40; i > 0; --i)
      tokens.push_back(static_cast<std::int32_t>(random() % 768));
    offsets.push_back(tokens.size());
  }
  std::vector<ModuleId> modules;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    modules.push_back({layer, ModuleKind::attention});
    modules.push_back({layer, ModuleKind::ffn});
  }

  // The oracle: one sequence at a time through the whole model, sums in fp64.
  std::map<ModuleId, std::vector<double>> expected;
  const OwnedTensor embedding = load_embedding(checkpoint, config, DType::f32, Device::cpu);
  LayerForward forward(context, config, 64);
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto count = static_cast<std::int64_t>(offsets[s + 1] - offsets[s]);
    const OwnedTensor hidden = test::poisoned({count, config.hidden_size});
    ops::embed(context, std::span(tokens).subspan(offsets[s], offsets[s + 1] - offsets[s]), embedding,
               hidden);
    const std::vector<std::int64_t> one = {0, count};
    for (std::int64_t layer = 0; layer < config.layers; ++layer) {
      const auto add = [&](ModuleKind kind) {
        return [&, kind](const Tensor& input) {
          const std::int64_t n = input.columns();
          std::vector<double>& h = expected[{layer, kind}];
          h.resize(static_cast<std::size_t>(n * n));
          for (std::int64_t t = 0; t < input.rows(); ++t) {
            for (std::int64_t i = 0; i < n; ++i) {
              for (std::int64_t j = 0; j <= i; ++j) {
                h[static_cast<std::size_t>(i * n + j)] +=
                    2.0 / 11 * input.floats()[t * n + i] * static_cast<double>(input.floats()[t * n + j]);
              }
            }
          }
        };
      };
      forward.run(load_layer(checkpoint, config, layer, DType::f32, Device::cpu), one, hidden,
                  {add(ModuleKind::attention), add(ModuleKind::ffn)});
    }
  }

  const std::vector<Batch> batches = make_batches(tokens, offsets, 50);
  for (int lanes = 1; lanes <= world.size(); ++lanes) {
    const PipelineGrid grid = make_pipeline_grid(std::vector<double>(3, 1.0), world.size(), lanes);
    const StageWeights stage =
        grid.member(world.rank())
            ? load_stage(checkpoint_source(checkpoint, config, DType::f32, Device::cpu),
                         grid.spans[static_cast<std::size_t>(grid.stage_of(world.rank()))])
            : StageWeights{};
    FailureBoard board(world);
    Hessians found =
        collect_hessians(context, world, {grid, config, batches, 11}, stage, modules, board).hessians;
    board.settle();
    const std::vector<int> owners = assign_owners(modules, config, grid, world.size());
    found = reduce_to_owners(world, grid, config, modules, owners, std::move(found));
    for (std::size_t m = 0; m < modules.size(); ++m) {
      CHECK(found.contains(modules[m]) == (owners[m] == world.rank()));
      if (owners[m] != world.rank()) continue;
      const Tensor& h = found.at(modules[m]);
      const std::vector<double>& truth = expected.at(modules[m]);
      const std::int64_t n = h.rows();
      double worst = 0, scale = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t j = 0; j <= i; ++j) {
          scale = std::max(scale, std::abs(truth[static_cast<std::size_t>(i * n + j)]));
          worst =
              std::max(worst, std::abs(truth[static_cast<std::size_t>(i * n + j)] - h.floats()[i * n + j]));
        }
      }
      CHECK(worst < 1e-4 * scale);
    }
  }
}

TEST_CASE("a failing stage ends the stream on every rank", "[hessian]") {
  const Communicator world = Communicator::world();
  const PipelineGrid grid = make_pipeline_grid(std::vector<double>(8, 1.0), world.size(), 1);
  std::vector<std::int32_t> tokens(400, 1);
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t at = 0; at <= 400; at += 10) offsets.push_back(at);
  const std::vector<Batch> batches = make_batches(tokens, offsets, 10);
  for (int loser = 0; loser < grid.stages(); ++loser) {
    for (const std::size_t after : {0, 1, 20, 39}) {
      FailureBoard board(world);
      OwnedTensor a({10, 4}, DType::f32, Device::cpu, "t"), b({10, 4}, DType::f32, Device::cpu, "t"),
          c({10, 4}, DType::f32, Device::cpu, "t");
      std::size_t count = 0;
      if (grid.member(world.rank())) {
        stream_batches(
            world, grid, batches, {a, b, c}, board,
            [](const Batch&, const Tensor& hidden) { fill_zero(hidden); },
            [&](const Batch&, const Tensor&) {
              if (grid.stage_of(world.rank()) == loser && count++ == after)
                throw NumericalError("x", "y", "z");
            });
      }
      int code = 0;
      try {
        board.settle();
      } catch (const Error& error) {
        code = static_cast<int>(error.code());
      }
      CHECK(code == 5);
    }
  }
}
