#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/pruning/sensitivity_forecast.hpp>

namespace galapagos::app {

PlannedPhase plan_sensitivity(const Machine& machine, const ModelSizes& model,
                              const SensitivityOptions& options, std::int64_t sequence_length) {
  const std::uint64_t limit = machine.limit(options.memory_limit);
  SensitivityExtent extent = {options.calibration_tokens, std::max(options.batch_tokens, sequence_length),
                              sequence_length, machine.device(), activations_of(machine, model)};
  if (options.divergence) extent.dense = model.config;  // as the levels that are put in cannot be known
  const SensitivityForecast forecast =
      forecast_sensitivity(options, model.config, model.precision, extent, machine.ranks, limit);
  SensitivityHeader kept;
  kept.form = options.form;
  kept.rank = options.rank;
  PlannedPhase phase;
  phase.name = "sensitivity";
  phase.rows = {{"context", fmt::format("{} tokens, {} ids drawn for each",
                                        count_text(options.calibration_tokens), options.samples)},
                {"grid", options.shards > 1 ? replicas_text(machine, options.shards)
                                            : grid_text(forecast.grid, machine.ranks)},
                {machine.memory_name(),
                 fmt::format("{}{}", human_bytes(forecast.bytes),
                             forecast.recompute ? "; layers are computed again on the way back" : "")},
                {"file", fmt::format("{} ({}{})", human_bytes(forecast.file), kept.form_text(),
                                     options.divergence ? ", first order" : "")},
                {"work", human_operations(forecast.operations)}};
  Json& json = phase.json;
  json["calibration_tokens"] = options.calibration_tokens;
  json["grid"] = {
      {"stages", forecast.grid.stages()}, {"lanes", forecast.grid.lanes}, {"shards", options.shards}};
  json["recompute"] = forecast.recompute;
  json["memory"] = {{"total", forecast.bytes}};
  json["file_bytes"] = forecast.file;
  json["operations"] = forecast.operations;
  Clock clock(machine);
  clock.add("gradients", clock.compute(forecast.operations / machine.ranks));
  clock.add("disk", clock.disk(static_cast<double>(forecast.file)));
  clock.write_to(phase);
  if (forecast.too_small.empty()) {
    check_rank(phase, forecast.bytes, limit, "use --shards, or a smaller --batch-tokens");
  } else {
    phase.warnings.push_back(forecast.too_small);
  }
  return phase;
}

}  // namespace galapagos::app
