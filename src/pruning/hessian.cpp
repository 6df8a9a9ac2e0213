#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/hessian.hpp>

namespace galapagos {
namespace {

constexpr int hessian_tag = 21;
constexpr std::int64_t rows_per_message = 512;

/// Calls work(first row, rows, columns) for slabs of rows that cover the lower triangle: row r has columns
/// [0, r].
template <typename Work>
void for_slabs(std::int64_t n, Work&& work) {
  for (std::int64_t first = 0; first < n; first += rows_per_message) {
    const std::int64_t rows = std::min(rows_per_message, n - first);
    work(first, rows, first + rows);
  }
}

/// Whole rows of a matrix in host memory: its own, or a copy in `storage` where it lies on a GPU.
const float* rows_on_host(const Tensor& h, std::int64_t first, std::int64_t rows,
                          std::vector<float>& storage) {
  const Tensor part = h.slice(first, rows);
  if (h.device == Device::cpu) return part.floats();
  storage.resize(static_cast<std::size_t>(part.elements()));
  copy_bytes(reinterpret_cast<std::byte*>(storage.data()), Device::cpu, part.data, part.device, part.bytes());
  return storage.data();
}

void send_lower(const Communicator& comm, const Tensor& h, int to) {
  std::vector<float> slab, storage;
  for_slabs(h.rows(), [&](std::int64_t first, std::int64_t rows, std::int64_t columns) {
    slab.resize(static_cast<std::size_t>(rows * columns));
    const float* from = rows_on_host(h, first, rows, storage);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::copy_n(from + r * h.columns(), columns, slab.data() + r * columns);
    }
    comm.send(std::span<const float>(slab), to, hessian_tag);
  });
}

void receive_and_add_lower(const Communicator& comm, const Tensor& h, int from) {
  std::vector<float> slab;
  for_slabs(h.rows(), [&](std::int64_t first, std::int64_t rows, std::int64_t columns) {
    slab.resize(static_cast<std::size_t>(rows * columns));
    comm.receive(std::span<float>(slab), from, hessian_tag);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = h.floats() + (first + r) * h.columns();
      const float* added = slab.data() + r * columns;
      for (std::int64_t j = 0; j <= first + r; ++j) row[j] += added[j];
    }
  });
}

/// h lies in host memory.
void add_lower(const Tensor& h, const Tensor& other) {
  std::vector<float> storage;
  for_slabs(h.rows(), [&](std::int64_t first, std::int64_t rows, std::int64_t) {
    const float* added = rows_on_host(other, first, rows, storage);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = h.floats() + (first + r) * h.columns();
      for (std::int64_t j = 0; j <= first + r; ++j) row[j] += added[r * h.columns() + j];
    }
  });
}

OwnedTensor zero_hessian(const HfConfig& config, const ModuleId& module, Device device) {
  const std::int64_t n = module_columns(config, module);
  OwnedTensor h({n, n}, DType::f32, device, "the Hessian of " + name_of(module));
  fill_zero(h);
  return h;
}

}  // namespace

Hessians collect_hessians(const ops::Context& context, const Communicator& comm, const Collection& collection,
                          const StageWeights& stage, std::span<const ModuleId> modules, FailureBoard& board,
                          PhaseTimes* times) {
  const PipelineGrid& grid = collection.grid;
  const bool member = grid.member(comm.rank());
  Hessians hessians;
  std::vector<Batch> mine;
  std::int64_t most_tokens = 1;
  for (std::size_t b = 0; b < collection.batches.size(); ++b) {
    most_tokens = std::max(most_tokens, static_cast<std::int64_t>(collection.batches[b].tokens.size()));
    if (member && static_cast<int>(b % static_cast<std::size_t>(grid.lanes)) == grid.lane_of(comm.rank())) {
      mine.push_back(collection.batches[b]);
    }
  }
  OwnedTensor hidden[3];
  std::optional<LayerForward> forward;
  board.attempt([&] {
    if (!member) return;
    const PhaseScope scope(times, "collecting Hessians");
    for (const ModuleId& module : modules) {
      if (module.layer < stage.span.first || module.layer >= stage.span.last) continue;
      hessians.emplace(module, zero_hessian(collection.config, module, context.device()));
    }
    for (OwnedTensor& buffer : hidden) {
      buffer = OwnedTensor({most_tokens, collection.config.hidden_size}, DType::f32, context.device(),
                           "hidden states");
    }
    forward.emplace(context, collection.config, most_tokens);
  });
  // A rank without memory for its part must not leave the others waiting for its messages.
  if (comm.any(board.failed()) || !member) return hessians;

  const float scale = 2.0f / static_cast<float>(collection.sequences);
  const auto tap = [&](const ModuleId& module) -> std::function<void(const Tensor&)> {
    const auto found = hessians.find(module);
    if (found == hessians.end()) return {};
    return [&context, scale, &h = found->second](const Tensor& input) {
      ops::accumulate_gram(context, input, scale, h);
    };
  };
  Progress progress("calibration batches", static_cast<std::int64_t>(mine.size()));
  stream_batches(
      comm, grid, mine, {hidden[0], hidden[1], hidden[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        const PhaseScope scope(times, "collecting Hessians");
        ops::embed(context, batch.tokens, stage.embedding, out);
      },
      [&](const Batch& batch, const Tensor& states) {
        const PhaseScope scope(times, "collecting Hessians");
        for (std::size_t i = 0; i < stage.layers.size(); ++i) {
          const std::int64_t layer = stage.span.first + static_cast<std::int64_t>(i);
          forward->run(stage.layers[i], batch.offsets, states,
                       {tap({layer, ModuleKind::attention}), tap({layer, ModuleKind::ffn})});
        }
        if (!ops::all_finite(context, states)) {
          throw NumericalError("activations became NaN or infinite",
                               fmt::format("layers {} to {}", stage.span.first, stage.span.last - 1),
                               "check the checkpoint, or use --precision fp32");
        }
        progress.advance();
      });
  return hessians;
}

Hessians reduce_to_owners(const Communicator& comm, const PipelineGrid& grid, const HfConfig& config,
                          std::span<const ModuleId> modules, std::span<const int> owners, Hessians partial) {
  Hessians owned;
  // Every rank goes through the modules in the same order, so that blocking transfers cannot wait in a
  // circle.
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const ModuleId& module = modules[i];
    const int stage = grid.stage_of_layer(module.layer), owner = owners[i];
    if (comm.rank() != owner) {
      for (int lane = 0; lane < grid.lanes; ++lane) {
        if (comm.rank() == grid.rank_of(lane, stage)) send_lower(comm, partial.at(module), owner);
      }
      partial.erase(module);
      continue;
    }
    if (grid.lanes == 1 && grid.rank_of(0, stage) == owner) {
      owned.emplace(module, std::move(partial.at(module)));
      partial.erase(module);
      continue;
    }
    OwnedTensor sum = zero_hessian(config, module, Device::cpu);
    for (int lane = 0; lane < grid.lanes; ++lane) {
      const int holder = grid.rank_of(lane, stage);
      if (holder == owner) {
        add_lower(sum, partial.at(module));
      } else {
        receive_and_add_lower(comm, sum, holder);
      }
    }
    partial.erase(module);
    owned.emplace(module, std::move(sum));
  }
  return owned;
}

std::vector<int> assign_owners(std::span<const ModuleId> modules, const HfConfig& config,
                               const PipelineGrid& grid, int ranks) {
  const auto cost = [&](std::size_t i) {
    const auto n = static_cast<double>(module_columns(config, modules[i]));
    return n * n * (3 * n + static_cast<double>(config.hidden_size));
  };
  std::vector<std::size_t> by_cost(modules.size());
  std::iota(by_cost.begin(), by_cost.end(), 0);
  std::stable_sort(by_cost.begin(), by_cost.end(),
                   [&](std::size_t a, std::size_t b) { return cost(a) > cost(b); });
  std::vector<double> load(static_cast<std::size_t>(ranks), 0.0);
  std::vector<int> owners(modules.size(), 0);
  for (const std::size_t i : by_cost) {
    int owner = grid.rank_of(
        0, grid.stage_of_layer(modules[i].layer));  // needs no transfer where it is as good as any
    for (int rank = 0; rank < ranks; ++rank) {
      if (load[static_cast<std::size_t>(rank)] < load[static_cast<std::size_t>(owner)]) owner = rank;
    }
    load[static_cast<std::size_t>(owner)] += cost(i);
    owners[i] = owner;
  }
  return owners;
}

}  // namespace galapagos
