#include "path_memory.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos {

std::uint64_t PathMemory::working() const {
  return activations + std::max(embedding, weights + sums + pruning);
}

PathMemory path_memory(const DatabaseHeader& header, const std::optional<Compensation>& compensation,
                       int ranks, std::int64_t tokens, const PassExtent& extent) {
  const HfConfig& config = header.config;
  const auto hidden = static_cast<std::uint64_t>(config.hidden_size);
  const bool chosen = compensation && !compensation->ridge;
  const std::uint64_t streams = compensation ? 2 : 1, parts = chosen ? 2 : 1;
  PathMemory memory;
  memory.states = streams * static_cast<std::uint64_t>(tokens) * hidden * sizeof(float);
  memory.embedding = static_cast<std::uint64_t>(embedding_parameters(config)) * size_of(extent.precision);
  memory.activations = activation_bytes(config, extent.most_tokens, extent.activations());
  for (const ModuleId& module : header.modules()) {
    const std::uint64_t square = hessian_bytes(config, module);
    const std::uint64_t weight =
        static_cast<std::uint64_t>(module_columns(config, module)) * hidden * sizeof(float);
    memory.weights = std::max(
        memory.weights, 2 * size_of(extent.precision) *
                            static_cast<std::uint64_t>(layer_parameters(config, config.shape(module.layer))));
    memory.sums = std::max(memory.sums, parts * (square + (compensation ? weight : 0)));
    std::uint64_t pruning = pruning_bytes(config, module, extent);
    if (ranks > 1) pruning += square;  // the sum over the ranks of one of them
    // A part of the sums and its factor; W_0, W_c, their products with inputs and outputs, and solutions.
    if (compensation) pruning += 2 * square + 6 * weight;
    // The sum of both parts, one more part and factor, and what they explain.
    if (chosen) pruning += 3 * square + 4 * weight;
    // The gradient, the weight in place, one to take its place, and the change by itself and times H and G.
    if (!header.end_loss_from.empty()) pruning += 7 * weight;
    memory.pruning = std::max(memory.pruning, pruning);
  }
  return memory;
}

void check_path_memory(const Communicator& comm, const PathMemory& memory, std::uint64_t asked,
                       Device device) {
  const std::uint64_t limit = memory_per_rank(comm, asked, device);
  // The hidden states lie in the node's memory, wherever tensors do.
  const std::uint64_t states_limit = device == Device::cpu ? limit - std::min(limit, memory.working())
                                                           : memory_per_rank(comm, 0, Device::cpu);
  agree(comm, [&] {
    if (memory.working() <= limit && memory.states <= states_limit) return;
    throw ResourceError(
        fmt::format(
            "a rank needs {} for the hidden states of its tokens and {} beside them ({} for weights, "
            "{} for a batch, {} for sums, {} for pruning), and may use {}",
            human_bytes(memory.states), human_bytes(memory.working()), human_bytes(memory.weights),
            human_bytes(memory.activations), human_bytes(memory.sums), human_bytes(memory.pruning),
            memory.working() <= limit ? human_bytes(states_limit) + " for the former" : human_bytes(limit)),
        "--memory-limit",
        "use more ranks, fewer --calibration-tokens, a smaller --batch-tokens, or raise the limit");
  });
}

}  // namespace galapagos
