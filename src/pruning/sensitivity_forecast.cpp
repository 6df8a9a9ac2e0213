#include "gradient_collector.hpp"

#include <algorithm>
#include <fmt/format.h>
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
  const double sums = options.form == SensitivityForm::full ? hidden * (hidden + 1) : 2 * hidden;
  const double of_token = layers * (1 + samples * (again ? 2 : 1)) + 2 * samples * logit_operations(config) +
                          samples * 2 * static_cast<double>(config.layers) * sums;
  return of_token * static_cast<double>(extent.tokens);
}

}  // namespace

SensitivityForecast forecast_sensitivity(const SensitivityOptions& options, const HfConfig& config,
                                         DType precision, const SensitivityExtent& extent, int ranks,
                                         std::uint64_t limit) {
  std::vector<HfConfig> parts;
  for (int shard = 0; shard < options.shards; ++shard)
    parts.push_back(part_of_model(config, shard, options.shards).config);
  const auto layers = static_cast<int>(config.layers);
  SensitivityForecast forecast;
  GradientGathering how;
  how.form = options.form;
  how.samples = options.samples;
  how.most_tokens = extent.most_tokens;
  how.activations = extent.activations;
  how.device = extent.device;
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
      for (const LayerSpan& span : forecast.grid.spans) {
        for (const HfConfig& part : parts) {
          forecast.bytes =
              std::max(forecast.bytes, GradientCollector::bytes(part, precision, span, stages == 1, how));
        }
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
  SensitivityHeader header;
  header.config = config;
  header.form = options.form;
  forecast.file = header.file_bytes();
  forecast.operations = operations_of(options, config, extent, forecast);
  return forecast;
}

}  // namespace galapagos
