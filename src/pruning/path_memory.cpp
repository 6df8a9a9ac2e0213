#include "path_memory.hpp"

#include "path_streams.hpp"

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

namespace {

/// What does not depend on the modules' levels.
PathMemory of_streams(const HfConfig& config, bool fitted, std::int64_t tokens, const PassExtent& extent) {
  PathMemory memory;
  memory.states = (fitted ? 2u : 1u) * static_cast<std::uint64_t>(tokens) *
                  static_cast<std::uint64_t>(config.hidden_size) * sizeof(float);
  memory.embedding = static_cast<std::uint64_t>(embedding_parameters(config)) * size_of(extent.precision);
  memory.activations =
      activation_bytes(config, extent.most_tokens, extent.activations(), PathStreams::batches_at_once);
  for (const LayerShape& shape : config.layer_shapes)
    memory.weights =
        std::max(memory.weights,
                 2 * size_of(extent.precision) * static_cast<std::uint64_t>(layer_parameters(config, shape)));
  return memory;
}

}  // namespace

PathMemory path_memory(const DatabaseHeader& header, const std::optional<Compensation>& compensation,
                       int ranks, std::int64_t tokens, const PassExtent& extent) {
  const HfConfig& config = header.config;
  const auto hidden = static_cast<std::uint64_t>(config.hidden_size);
  const bool chosen = compensation && !compensation->ridge;
  const std::uint64_t parts = chosen ? 2 : 1;
  PathMemory memory = of_streams(config, compensation.has_value(), tokens, extent);
  for (const ModuleId& module : header.modules()) {
    const std::uint64_t square = hessian_bytes(config, module);
    const std::uint64_t weight =
        static_cast<std::uint64_t>(module_columns(config, module)) * hidden * sizeof(float);
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

PathMemory refit_memory(const DatabaseHeader& header, std::span<const std::int16_t> levels,
                        std::span<const int> owners, const Compensation& ridge, int ranks,
                        std::int64_t tokens, const PassExtent& extent) {
  const std::uint64_t parts = ridge.ridge ? 1 : 2;
  PathMemory memory = of_streams(header.config, true, tokens, extent);
  std::vector<std::uint64_t> held(static_cast<std::size_t>(ranks));
  const std::vector<ModuleId> modules = header.modules();
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const auto kept = static_cast<std::uint64_t>(header.kept_columns(modules[i], levels[i]));
    const std::uint64_t values = kept * static_cast<std::uint64_t>(header.config.hidden_size);
    const std::uint64_t square = kept * kept * sizeof(float), weight = values * sizeof(float);
    memory.sums = std::max(memory.sums, parts * (square + weight));
    // As the ranks' sums come together, one of them; then the fit, the level and its sum with it.
    const std::uint64_t fit = fit_parts_bytes(static_cast<std::int64_t>(kept), header.config.hidden_size,
                                              !ridge.ridge, extent.device);
    memory.pruning = std::max(memory.pruning, std::max(square, fit + 2 * weight));
    held[static_cast<std::size_t>(owners[i])] += values * size_of(header.dtype);
  }
  memory.states += *std::max_element(held.begin(), held.end());
  return memory;
}

std::int64_t most_tokens_of_rank(std::span<const Batch> batches, int ranks) {
  std::vector<std::int64_t> of_rank(static_cast<std::size_t>(ranks));
  for (std::size_t b = 0; b < batches.size(); ++b)
    of_rank[b % of_rank.size()] += static_cast<std::int64_t>(batches[b].tokens.size());
  return *std::max_element(of_rank.begin(), of_rank.end());
}

std::int64_t most_tokens_of(std::span<const Batch> batches) {
  std::int64_t most = 1;
  for (const Batch& batch : batches) most = std::max(most, static_cast<std::int64_t>(batch.tokens.size()));
  return most;
}

std::string path_shortage(const PathMemory& memory, std::uint64_t limit, std::uint64_t host_limit,
                          Device device) {
  const auto any = [](std::uint64_t bytes) { return bytes == 0 ? UINT64_MAX : bytes; };
  // The hidden states lie in the node's memory, wherever tensors do.
  const std::uint64_t most = any(limit);
  const std::uint64_t states_limit =
      device == Device::cpu ? most - std::min(most, memory.working()) : any(host_limit);
  if (memory.working() <= most && memory.states <= states_limit) return {};
  return fmt::format(
      "a rank needs {} for the hidden states of its tokens and {} beside them ({} for weights, "
      "{} for a batch, {} for sums, {} for pruning), and may use {}",
      human_bytes(memory.states), human_bytes(memory.working()), human_bytes(memory.weights),
      human_bytes(memory.activations), human_bytes(memory.sums), human_bytes(memory.pruning),
      memory.working() <= most ? human_bytes(states_limit) + " for the former" : human_bytes(most));
}

void check_path_memory(const Communicator& comm, const PathMemory& memory, std::uint64_t asked,
                       Device device) {
  const std::uint64_t limit = memory_per_rank(comm, asked, device);
  const std::uint64_t host_limit = device == Device::cpu ? 0 : memory_per_rank(comm, 0, Device::cpu);
  agree(comm, [&] {
    const std::string shortage = path_shortage(memory, limit, host_limit, device);
    if (shortage.empty()) return;
    throw ResourceError(
        shortage, "--memory-limit",
        "use more ranks, fewer --calibration-tokens, a smaller --batch-tokens, or raise the limit");
  });
}

}  // namespace galapagos
