#include "support/catch.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/model/pipeline.hpp>

using namespace galapagos;

namespace {

constexpr std::int64_t width = 5;

struct Text {
  std::vector<std::int32_t> tokens;
  std::vector<Batch> batches;  // of one sequence each, which lie in tokens
};

Text text_of_uneven_batches() {
  Text text;
  std::vector<std::uint64_t> offsets = {0};
  for (std::int32_t batch = 0; batch < 17; ++batch) {
    for (std::int32_t i = 0; i <= batch % 7; ++i) text.tokens.push_back(batch * 100 + i);
    offsets.push_back(text.tokens.size());
  }
  text.batches = make_batches(text.tokens, offsets, 1);
  return text;
}

}  // namespace

TEST_CASE("hidden states go through all stages, handed over directly or through host memory", "[stream]") {
  const Communicator world = Communicator::world();
  const PipelineGrid grid = make_pipeline_grid(std::vector<double>(8, 1.0), world.size(), 1);
  const int stage = grid.stage_of(world.rank());
  const Text text = text_of_uneven_batches();
  const std::vector<Batch>& batches = text.batches;
  CHECK(batches.size() == 17);
  for (const HandOver hand_over : {HandOver::automatic, HandOver::direct, HandOver::staged}) {
    const OwnedTensor a({7, width}, DType::f32, Device::cpu, "t"),
        b({7, width}, DType::f32, Device::cpu, "t"), c({7, width}, DType::f32, Device::cpu, "t");
    FailureBoard board(world);
    std::size_t seen = 0, wrong = 0;
    stream_batches(
        world, grid, batches, {a, b, c}, board,
        [](const Batch& batch, const Tensor& hidden) {
          for (std::int64_t i = 0; i < hidden.elements(); ++i)
            hidden.floats()[i] = static_cast<float>(batch.tokens[static_cast<std::size_t>(i / width)]);
        },
        [&](const Batch& batch, const Tensor& hidden) {
          // Each stage adds one to what the one before has handed on.
          for (std::int64_t i = 0; i < hidden.elements(); ++i) {
            const auto token = static_cast<float>(batch.tokens[static_cast<std::size_t>(i / width)]);
            wrong += hidden.floats()[i] != token + static_cast<float>(stage) ? 1 : 0;
            hidden.floats()[i] += 1;
          }
          ++seen;
        },
        hand_over);
    CHECK_NOTHROW(board.settle());
    CHECK(seen == batches.size());
    CHECK(wrong == 0);
  }
}

TEST_CASE("a failing stage ends a staged stream on every rank", "[stream]") {
  const Communicator world = Communicator::world();
  const PipelineGrid grid = make_pipeline_grid(std::vector<double>(8, 1.0), world.size(), 1);
  const Text text = text_of_uneven_batches();
  const std::vector<Batch>& batches = text.batches;
  for (int loser = 0; loser < grid.stages(); ++loser) {
    const OwnedTensor a({7, width}, DType::f32, Device::cpu, "t"),
        b({7, width}, DType::f32, Device::cpu, "t"), c({7, width}, DType::f32, Device::cpu, "t");
    FailureBoard board(world);
    std::size_t count = 0;
    stream_batches(
        world, grid, batches, {a, b, c}, board, [](const Batch&, const Tensor& hidden) { fill_zero(hidden); },
        [&](const Batch&, const Tensor&) {
          if (grid.stage_of(world.rank()) == loser && count++ == 5) throw NumericalError("x", "y", "z");
        },
        HandOver::staged);
    int code = 0;
    try {
      board.settle();
    } catch (const Error& error) {
      code = static_cast<int>(error.code());
    }
    CHECK(code == 5);
  }
}
