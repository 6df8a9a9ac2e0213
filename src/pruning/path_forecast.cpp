#include "path_memory.hpp"
#include "reduction.hpp"

#include <algorithm>

#include <galapagos/model/cost.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/pruning/forecast.hpp>

namespace galapagos {
namespace {

/// Of one token in a module of which so many columns are kept. Which KV heads go with them is not known: as
/// many stay as can.
double module_operations(const HfConfig& config, const ModuleId& module, std::int64_t kept, double seen) {
  if (module.kind == ModuleKind::ffn) return ffn_operations(config, kept);
  const std::int64_t heads = kept / config.head_dim;
  return attention_operations(config, heads, std::min(heads, config.shape(module.layer).kv_heads), seen);
}

/// Of one token: the sums over `columns` inputs of a module, with the targets of a fit or without.
double sum_operations(std::int64_t columns, std::int64_t hidden, bool fitted) {
  const auto n = static_cast<double>(columns);
  return n * n + (fitted ? 2 * n * static_cast<double>(hidden) : 0);
}

/// A ridge regression of `columns` inputs on the hidden size, and where it is chosen the six that are tried
/// and what they explain.
double fit_operations(std::int64_t columns, std::int64_t hidden, bool chosen) {
  const auto n = static_cast<double>(columns), d = static_cast<double>(hidden);
  const double solution = n * n * n / 3 + 2 * n * n * d;
  return solution + (chosen ? 6 * (solution + 2 * n * n * d) : 0);
}

/// What the sums of modules take from node to node, owners taking turns, and back as a level of the path.
void add_traffic(double sums, double levels, int ranks, int ranks_per_node, DatabaseForecast& forecast) {
  const double others = ranks - 1, node = std::min(ranks_per_node, ranks), nodes = ranks / node;
  forecast.hessians_moved += static_cast<std::uint64_t>(others * (sums + levels));
  forecast.busiest_node += static_cast<std::uint64_t>(
      ((ranks - node) / nodes + node * (1 - 1 / nodes)) * sums + (nodes > 1 ? 2 * levels : 0));
}

/// Tokens of the rank that has most, dealt in batches.
std::int64_t tokens_of_rank(std::int64_t tokens, std::int64_t batch, int ranks) {
  const std::int64_t batches = (tokens + batch - 1) / batch;
  return std::min(tokens, (batches + ranks - 1) / ranks * batch);
}

void set_memory(const PathMemory& memory, std::uint64_t limit, std::uint64_t host_limit, Device device,
                DatabaseForecast& forecast) {
  forecast.memory = {memory.weights, memory.activations, memory.sums,
                     memory.pruning, memory.working(),   memory.states};
  if (device == Device::cpu) forecast.memory.peak += memory.states;
  forecast.too_small = path_shortage(memory, limit, host_limit, device);
}

double operations_of_rank(double operations, std::int64_t of_rank, std::int64_t tokens) {
  return operations * static_cast<double>(of_rank) / static_cast<double>(std::max<std::int64_t>(tokens, 1));
}

}  // namespace

DatabaseForecast forecast_path(const DatabaseHeader& header, const DatabaseOptions& options, int ranks,
                               int ranks_per_node, std::uint64_t limit, std::uint64_t host_limit,
                               Device device) {
  const HfConfig& config = header.config;
  const std::int64_t tokens = options.calibration_tokens, hidden = config.hidden_size;
  const PassExtent extent = {header.precision, std::max(options.batch_tokens, header.sequence_length), device,
                             options.sensitivity.has_value()};
  const bool fitted = options.compensation.has_value(), chosen = fitted && !options.compensation->ridge;
  const double seen = mean_seen(header.sequence_length);
  const std::int64_t of_rank = tokens_of_rank(tokens, extent.most_tokens, ranks);
  DatabaseForecast forecast;
  forecast.file = header.file_bytes();
  forecast.grid.lanes = ranks;
  forecast.grid.spans = {{0, config.layers}};
  forecast.passes = {header.modules()};
  forecast.read =
      static_cast<std::uint64_t>(ranks) * stage_weight_bytes(config, forecast.grid.spans[0], header.dtype);
  double of_token = 0;
  const std::vector<ModuleId>& modules = forecast.passes[0];
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const StructureLayout layout = header.layout(modules[i]);
    const std::int64_t n = layout.columns, kept = header.kept_columns(modules[i], header.path[i]);
    // The unpruned stream, the sums and, with what is kept, the path.
    of_token += (fitted ? 2 : 1) * module_operations(config, modules[i], n, seen) +
                sum_operations(n, hidden, fitted) + module_operations(config, modules[i], kept, seen);
    const auto levels = static_cast<std::int64_t>(header.removed(modules[i]).size());
    const auto obs = [&](std::int64_t level) {
      return obs_operations(hidden, n, header.kept_columns(modules[i], level), layout.unit, extent.weighed);
    };
    forecast.pruning += obs(levels - 1);
    forecast.pruning_streamed +=
        obs_traffic(hidden, n, header.kept_columns(modules[i], levels - 1), layout.unit, extent.weighed);
    if (fitted) forecast.pruning += fit_operations(n, hidden, chosen);
    // The columns that a refit's ridge is tried on: the path's, or those of a level in the middle.
    const bool whole_or_none = header.path[i] == 0 || kept == 0;
    const std::int64_t tried = whole_or_none ? levels / 2 : header.path[i];
    if (chosen)
      forecast.pruning += obs(tried) + fit_operations(header.kept_columns(modules[i], tried), hidden, true);
    for (std::int64_t level = 1; fitted && level < levels; ++level)
      forecast.pruning += fit_operations(header.kept_columns(modules[i], level), hidden, false);
    const auto width = static_cast<double>(n), d = static_cast<double>(hidden);
    const double parts = chosen ? 2 : 1, words = static_cast<double>(size_of(header.dtype));
    add_traffic(parts * sizeof(float) *
                    (share_sent(device, options.collectives) * width * width + (fitted ? width * d : 0)),
                static_cast<double>(kept) * d * words, ranks, ranks_per_node, forecast);
    forecast.read += static_cast<std::uint64_t>(n * hidden) * size_of(header.dtype);
  }
  forecast.collecting = static_cast<double>(tokens) * of_token;
  forecast.collecting_rank = operations_of_rank(forecast.collecting, of_rank, tokens);
  forecast.pruning_rank = forecast.pruning;  // one module at a time
  set_memory(path_memory(header, options.compensation, ranks, of_rank, extent), limit, host_limit, device,
             forecast);
  return forecast;
}

DatabaseForecast forecast_refit(const DatabaseHeader& header, std::span<const std::int16_t> levels,
                                const RefitOptions& options, DType precision, int ranks, int ranks_per_node,
                                int writers, std::uint64_t limit, std::uint64_t host_limit, Device device) {
  const HfConfig& config = header.config;
  const std::int64_t tokens = options.calibration_tokens, hidden = config.hidden_size;
  const std::int64_t length = options.sequence_length;
  const PassExtent extent = {precision, std::max(options.batch_tokens, length), device};
  const bool chosen = !options.ridge.ridge;
  const double seen = mean_seen(length);
  const std::int64_t of_rank = tokens_of_rank(tokens, extent.most_tokens, ranks);
  DatabaseForecast forecast;
  forecast.grid.lanes = ranks;
  forecast.grid.spans = {{0, config.layers}};
  forecast.passes = {header.modules()};
  forecast.read =
      static_cast<std::uint64_t>(ranks) * stage_weight_bytes(config, forecast.grid.spans[0], header.dtype);
  const std::vector<ModuleId>& modules = forecast.passes[0];
  double of_token = 0;
  std::vector<int> owners;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const std::int64_t kept = header.kept_columns(modules[i], levels[i]);
    // The unpruned stream, the sums, and the path.
    of_token += module_operations(config, modules[i], module_columns(config, modules[i]), seen) +
                2 * module_operations(config, modules[i], kept, seen) + sum_operations(kept, hidden, true);
    forecast.pruning += fit_operations(kept, hidden, chosen);
    const auto k = static_cast<double>(kept), d = static_cast<double>(hidden);
    add_traffic((chosen ? 2 : 1) * sizeof(float) * (share_sent(device, options.collectives) * k * k + k * d),
                2 * k * d * static_cast<double>(size_of(header.dtype)), ranks, ranks_per_node, forecast);
    owners.push_back(static_cast<int>(i * static_cast<std::size_t>(writers) / modules.size()));
  }
  forecast.collecting = static_cast<double>(tokens) * of_token;
  forecast.collecting_rank = operations_of_rank(forecast.collecting, of_rank, tokens);
  forecast.pruning_rank = forecast.pruning;
  set_memory(refit_memory(header, levels, owners, options.ridge, ranks, of_rank, extent), limit, host_limit,
             device, forecast);
  return forecast;
}

}  // namespace galapagos
