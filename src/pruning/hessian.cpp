#include "reduction.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/hessian.hpp>

namespace galapagos {
namespace {

OwnedTensor zero_hessian(const HfConfig& config, const ModuleId& module, Device device) {
  const std::int64_t n = module_columns(config, module);
  OwnedTensor h({n, n}, DType::f32, device, "the Hessian of " + name_of(module));
  fill_zero(h);
  return h;
}

/// What a rank holds of Hessians on its device while they are reduced.
class DeviceRoom {
 public:
  /// `stay`: bytes of those sums of this rank that come where its summand lies.
  DeviceRoom(const DeviceSums& device, const Hessians& partial, std::uint64_t stay)
      : device_(device), stay_(stay) {
    for (const auto& [module, hessian] : partial) partial_ += hessian->bytes();
  }

  /// Where the sum of a module comes that this rank owns.
  Device place(std::uint64_t bytes, bool holds) const {
    // Beside it lie pieces of what comes.
    const std::uint64_t spare = 2 * std::min<std::uint64_t>(bytes, message_values * sizeof(float));
    const bool fits =
        partial_ + owned_ + bytes + spare <= device_.reducing && owned_ + stay_ + bytes <= device_.owned;
    return holds || fits ? device_.context.device() : Device::cpu;
  }
  void note(std::uint64_t bytes, bool held, bool owned) {
    if (held) partial_ -= bytes;
    if (owned) owned_ += bytes;
    if (held && owned) stay_ -= bytes;
  }

 private:
  const DeviceSums& device_;
  std::uint64_t stay_, partial_ = 0, owned_ = 0;
};

/// The taps of a layer, which add to what is collected.
LayerTaps taps_of(const ops::Context& context, std::int64_t layer, float scale, bool uses,
                  Collected& collected) {
  const auto gram = [&context, scale](OwnedTensor& h) {
    return [&context, scale, &h](const Tensor& input) { ops::accumulate_gram(context, input, scale, h); };
  };
  LayerTaps taps;
  Hessians& hessians = collected.hessians;
  if (const auto found = hessians.find({layer, ModuleKind::attention}); found != hessians.end())
    taps.attention_output = gram(found->second);
  if (const auto found = hessians.find({layer, ModuleKind::ffn}); found != hessians.end())
    taps.ffn_output = gram(found->second);
  taps.expert_input = [&, layer, scale, uses](std::int64_t expert, std::span<const float> weights,
                                              const Tensor& input) {
    const ModuleId module{layer, ModuleKind::ffn, expert};
    if (const auto found = collected.hessians.find(module); found != collected.hessians.end())
      ops::accumulate_gram(context, input, scale, found->second);
    if (!uses) return;
    ExpertUse& use = collected.uses[module];
    use.tokens += static_cast<double>(weights.size());
    for (const float weight : weights) use.weights += static_cast<double>(weight);
    std::vector<float> norms(weights.size());
    ops::row_norms(context, input, norms);
    for (const float norm : norms) use.squares += static_cast<double>(norm) * static_cast<double>(norm);
  };
  if (!uses) return taps;
  taps.expert_output = [&, layer](std::int64_t expert, std::span<const float> weights, const Tensor& output) {
    std::vector<float> norms(weights.size());
    ops::row_norms(context, output, norms);
    for (const float norm : norms)
      collected.uses[{layer, ModuleKind::ffn, expert}].outputs += static_cast<double>(norm);
  };
  return taps;
}

}  // namespace

Collected collect_hessians(const ops::Context& context, const Communicator& comm,
                           const Collection& collection, const StageWeights& stage,
                           std::span<const ModuleId> modules, FailureBoard& board, PhaseTimes* times) {
  const PipelineGrid& grid = collection.grid;
  const bool member = grid.member(comm.rank());
  Collected collected;
  Hessians& hessians = collected.hessians;
  std::vector<Batch> mine;
  std::int64_t most_tokens = 1;
  for (std::size_t b = 0; b < collection.batches.size(); ++b) {
    most_tokens = std::max(most_tokens, static_cast<std::int64_t>(collection.batches[b].tokens.size()));
    if (member && static_cast<int>(b % static_cast<std::size_t>(grid.lanes)) == grid.lane_of(comm.rank())) {
      mine.push_back(collection.batches[b]);
    }
  }
  std::optional<ForwardBuffers> buffers;
  board.attempt([&] {
    if (!member) return;
    const PhaseScope scope(times, "collecting Hessians");
    for (const ModuleId& module : modules) {
      if (module.layer < stage.span.first || module.layer >= stage.span.last) continue;
      hessians.emplace(module, zero_hessian(collection.config, module, context.device()));
    }
    buffers.emplace(context, collection.config, most_tokens, streamed_batches);
  });
  // A rank without memory for its part must not leave the others waiting for its messages.
  if (comm.any(board.failed()) || !member) return collected;

  const float scale = 2.0f / static_cast<float>(collection.sequences);
  const std::vector<OwnedTensor>& hidden = buffers->hidden;
  Progress progress("calibration batches", static_cast<std::int64_t>(mine.size()));
  stream_batches(
      comm, grid, mine, {hidden[0], hidden[1], hidden[2]}, board,
      [&](const Batch& batch, const Tensor& out) {
        const PhaseScope scope(times, "collecting Hessians");
        embed_tokens(context, collection.config, alone(), batch.tokens, stage.embedding, out);
      },
      [&](const Batch& batch, const Tensor& states) {
        if (collection.check) collection.check();
        const PhaseScope scope(times, "collecting Hessians");
        for (std::size_t i = 0; i < stage.layers.size(); ++i) {
          const std::int64_t layer = stage.span.first + static_cast<std::int64_t>(i);
          buffers->layers.run(stage.layers[i], batch.offsets, states,
                              taps_of(context, layer, scale, collection.uses, collected));
        }
        if (!ops::all_finite(context, states)) {
          throw NumericalError("activations became NaN or infinite",
                               fmt::format("layers {} to {}", stage.span.first, stage.span.last - 1),
                               "check the checkpoint, or use --precision fp32");
        }
        progress.advance();
      });
  return collected;
}

Hessians reduce_to_owners(const Communicator& comm, const PipelineGrid& grid, const HfConfig& config,
                          std::span<const ModuleId> modules, std::span<const int> owners, Hessians partial,
                          const std::optional<DeviceSums>& device) {
  Hessians owned;
  std::optional<DeviceRoom> room;
  if (device) {
    std::uint64_t stay = 0;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      const auto held = partial.find(modules[i]);
      if (owners[i] == comm.rank() && held != partial.end()) stay += held->second->bytes();
    }
    room.emplace(*device, partial, stay);
  }
  // Every rank goes through the modules in the same order, so that blocking transfers cannot wait in a
  // circle.
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const ModuleId& module = modules[i];
    const int stage = grid.stage_of_layer(module.layer), owner = owners[i];
    const std::int64_t n = module_columns(config, module);
    std::vector<int> holders;
    for (int lane = 0; lane < grid.lanes; ++lane) holders.push_back(grid.rank_of(lane, stage));
    auto mine = partial.extract(module);
    const bool holds = !mine.empty(), owns = comm.rank() == owner;
    OwnedTensor summand = holds ? std::move(mine.mapped()) : OwnedTensor();
    const Reduction reduction = {holders, owner, {n, n}, Triangle::lower};
    const std::string purpose = "the Hessian of " + name_of(module);
    OwnedTensor sum;
    if (device) {
      const std::uint64_t bytes = static_cast<std::uint64_t>(n * n) * sizeof(float);
      sum = sum_at_owner(device->context, device->collectives, reduction, std::move(summand),
                         room->place(bytes, holds), purpose);
      room->note(bytes, holds, owns && sum->device == device->context.device());
    } else {
      sum = sum_at_owner(comm, reduction, std::move(summand), purpose);
    }
    if (owns) owned.emplace(module, std::move(sum));
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
