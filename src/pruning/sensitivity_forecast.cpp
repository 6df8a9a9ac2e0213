#include "gradient_collector.hpp"
#include "gradient_dealing.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <vector>

#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/model/partition.hpp>
#include <galapagos/pruning/sensitivity_forecast.hpp>

namespace galapagos {
namespace {

/// Of the definition, and of what is computed again: forward, and half of training's way back, as no
/// parameter's gradient is asked for.
double operations_of(const SensitivityOptions& options, const HfConfig& config,
                     const SensitivityExtent& extent, const SensitivityForecast& forecast) {
  const auto samples = static_cast<double>(options.samples), hidden = static_cast<double>(config.hidden_size);
  const double layers = span_operations(config, 0, config.layers, mean_seen(extent.longest));
  const bool again = forecast.recompute || forecast.grid.stages() > 1;
  const double sums = options.form == SensitivityForm::full ? hidden * (hidden + 1)
                      : options.form == SensitivityForm::lowrank
                          ? 4 * hidden * static_cast<double>(options.rank)
                          : 2 * hidden;
  double of_token = layers * (1 + samples * (again ? 2 : 1)) + 2 * samples * logit_operations(config) +
                    samples * 2 * static_cast<double>(config.layers) * sums;
  if (extent.dense) {
    // The unpruned model's answers and inputs, a way back, and g a^T.
    const HfConfig& dense = *extent.dense;
    of_token += 2 * span_operations(dense, 0, dense.layers, mean_seen(extent.longest)) +
                layers * (again ? 2 : 1) + 3 * logit_operations(config);
    for (std::int64_t layer = 0; layer < dense.layers; ++layer) {
      for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn})
        of_token += 2 * hidden * static_cast<double>(module_columns(dense, {layer, kind}));
    }
  }
  return of_token * static_cast<double>(extent.tokens);
}

}  // namespace

SensitivityForecast forecast_sensitivity(const SensitivityOptions& options, const HfConfig& config,
                                         DType precision, const SensitivityExtent& extent, int ranks,
                                         std::uint64_t limit) {
  check_lanes(options.lanes, ranks);
  std::vector<HfConfig> parts, dense_parts;
  for (int shard = 0; shard < options.shards; ++shard) {
    parts.push_back(part_of_model(config, shard, options.shards).config);
    if (extent.dense) dense_parts.push_back(part_of_model(*extent.dense, shard, options.shards).config);
  }
  const auto layers = static_cast<int>(config.layers);
  SensitivityForecast forecast;
  GradientGathering how;
  how.form = options.form;
  how.rank = options.rank;
  how.samples = options.samples;
  how.most_tokens = extent.most_tokens;
  how.activations = extent.activations;
  how.device = extent.device;
  SensitivityHeader header;
  header.config = extent.dense.value_or(config);
  header.form = options.form;
  header.rank = options.rank;
  if (extent.dense) header.kept.assign(header.modules().size(), 0);
  const std::vector<ModuleId> modules = header.modules();
  // Those that a rank of the first lane gathers; ranks count as in the dealing.
  const auto held_by = [&](const GradientDealing& dealing, int rank) {
    std::vector<ModuleId> held;
    for (std::size_t i = 0; i < modules.size(); ++i)
      if (dealing.holder(0, i, modules[i]) == rank) held.push_back(modules[i]);
    return held;
  };
  // On the hosts of those ranks that own sums of all lanes; at the end the weights in place lie beside them.
  const auto totals_of = [&](const GradientDealing& dealing) {
    std::map<int, std::uint64_t> totals;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      const std::uint64_t weights = extent.dense ? 2 * header.weight_values(modules[i]) : 0;
      totals[dealing.owner(i, modules[i])] += (header.values() + weights) * sizeof(float);
    }
    return totals;
  };
  const auto fits = [&](int stages, int lanes) {
    forecast.grid.lanes = lanes;
    forecast.grid.spans = balanced_spans(layer_costs(config), stages);
    // Enough to fill the stages on the way up and the way down.
    const std::int64_t of_lane = stages == 1 ? 1 : 4 * stages;
    forecast.window = of_lane * lanes;
    how.window_tokens = of_lane * extent.most_tokens;
    for (const bool recompute : {false, true}) {
      how.recompute = forecast.recompute = recompute;
      forecast.bytes = 0;
      const GradientDealing dealing{forecast.grid, options.shards};
      // What the ranks of all lanes have alike: of each stage and shard, those of the first lane.
      std::vector<std::uint64_t> gathering;
      for (int rank = 0; rank < stages * options.shards; ++rank) {
        const auto shard = static_cast<std::size_t>(rank % options.shards);
        gathering.push_back(
            GradientCollector::bytes(parts[shard], extent.dense ? &dense_parts[shard] : nullptr, precision,
                                     forecast.grid.spans[static_cast<std::size_t>(rank / options.shards)],
                                     held_by(dealing, rank), stages == 1, how));
        forecast.bytes = std::max(forecast.bytes, gathering.back());
      }
      for (const auto& [rank, bytes] : totals_of(dealing)) {
        const auto alike = static_cast<std::size_t>(rank) % gathering.size();
        forecast.bytes = std::max(forecast.bytes, gathering[alike] + bytes);
      }
      if (limit == 0 || forecast.bytes <= limit) return true;
    }
    return false;
  };
  const auto any_fits = [&] {
    if (options.shards > 1) return fits(1, ranks / options.shards);
    if (options.lanes > 0) return fits(std::min(ranks / options.lanes, layers), options.lanes);
    for (int stages = 1; stages <= std::min(ranks, layers); ++stages)
      if (fits(stages, ranks / stages)) return true;
    return false;
  };
  if (!any_fits()) {
    forecast.too_small = fmt::format("the model and its gradients need {} on a rank, which may use {}",
                                     human_bytes(forecast.bytes), human_bytes(limit));
  }
  forecast.file = header.file_bytes();
  forecast.operations = operations_of(options, config, extent, forecast);
  return forecast;
}

}  // namespace galapagos
