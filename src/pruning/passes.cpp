#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/obs.hpp>
#include <galapagos/pruning/passes.hpp>

namespace galapagos {

std::uint64_t hessian_bytes(const HfConfig& config, const ModuleId& module) {
  const auto n = static_cast<std::uint64_t>(module_columns(config, module));
  return n * n * sizeof(float);
}

std::uint64_t pruning_bytes(const HfConfig& config, const ModuleId& module, const PassExtent& extent) {
  const std::int64_t n = module_columns(config, module);
  const std::uint64_t weight = static_cast<std::uint64_t>(n * config.hidden_size) * sizeof(float);
  const std::uint64_t root =
      static_cast<std::uint64_t>(config.hidden_size * config.hidden_size) * sizeof(float);
  // The weight as it is, and two levels that wait to be written.
  const std::uint64_t pruning = 3 * weight + obs_bytes(n, config.hidden_size, extent.device, extent.weighed);
  if (!extent.weighed) return pruning;
  // Beside it the root of G; before it, G as it is read, its factor in fp64 and in fp32.
  return std::max(pruning + root, weight + 5 * root);
}

namespace {

/// Takes in a module of the stage's layers.
void add(StageMemory& memory, const HfConfig& config, const ModuleId& module, const PassExtent& extent) {
  memory.hessians += hessian_bytes(config, module);
  memory.pruning = std::max(memory.pruning, pruning_bytes(config, module, extent));
}

}  // namespace

StageMemory stage_memory(const HfConfig& config, const LayerSpan& span, const PassExtent& extent,
                         std::span<const ModuleId> modules) {
  StageMemory memory;
  for (const ModuleId& module : modules) {
    if (module.layer >= span.first && module.layer < span.last) add(memory, config, module, extent);
  }
  memory.weights = stage_weight_bytes(config, span, extent.precision);
  memory.activations = activation_bytes(config, extent.most_tokens, extent.activations());
  return memory;
}

std::vector<std::vector<ModuleId>> plan_passes(const HfConfig& config, const PipelineGrid& grid,
                                               const PassExtent& extent, std::span<const ModuleId> modules,
                                               std::uint64_t limit) {
  std::vector<std::vector<ModuleId>> passes;
  for (const LayerSpan& span : grid.spans) {
    std::size_t pass = 0;
    const StageMemory none = stage_memory(config, span, extent, {});
    StageMemory memory = none;  // with the pass's modules
    const auto add_to_pass = [&](const ModuleId& module) {
      if (passes.size() <= pass) passes.resize(pass + 1);
      passes[pass].push_back(module);
    };
    for (const ModuleId& module : modules) {
      if (module.layer < span.first || module.layer >= span.last) continue;
      const bool alone = memory.hessians == 0;
      add(memory, config, module, extent);
      if (limit > 0 && memory.peak() > limit) {
        if (!alone) ++pass;
        memory = none;
        add(memory, config, module, extent);
        if (const std::uint64_t least = memory.peak(); least > limit) {
          throw ResourceError(fmt::format("a rank with layers {} to {} needs at least {} and may use {}",
                                          span.first, span.last - 1, human_bytes(least), human_bytes(limit)),
                              "--memory-limit",
                              "use more ranks, a smaller --batch-tokens, or raise the limit");
        }
      }
      add_to_pass(module);
    }
  }
  for (auto& pass : passes) std::sort(pass.begin(), pass.end());
  return passes;
}

}  // namespace galapagos
