#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <galapagos/core/text.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/pruning/forecast.hpp>

namespace galapagos::app {
namespace {

/// What comes before the writing.
void add_refit(const Machine& machine, const ModelSizes& model, const RefitOptions& options,
               const ToStitch& stitched, std::uint64_t files, PlannedPhase& phase, Clock& clock) {
  const std::uint64_t limit = machine.limit(options.memory_limit);
  const auto writers =
      static_cast<int>(std::clamp<std::uint64_t>(files, 1, static_cast<std::uint64_t>(machine.ranks)));
  const DatabaseForecast forecast =
      forecast_refit(*stitched.header, stitched.assignment, options, model.precision, machine.ranks,
                     machine.ranks_per_node(), writers, limit, machine.host_share(), machine.device());
  const DatabaseMemory& memory = forecast.memory;
  phase.rows.emplace_back(
      "refit",
      fmt::format("on {} tokens; {} {}, hidden states and refitted levels in the node's memory {}; "
                  "path {} ({} a rank), fits {}",
                  count_text(options.calibration_tokens), machine.memory_name(), human_bytes(memory.peak),
                  human_bytes(memory.states), human_operations(forecast.collecting),
                  human_operations(forecast.collecting_rank), human_operations(forecast.pruning)));
  phase.json["refit"] = {
      {"calibration_tokens", options.calibration_tokens},
      {"memory",
       {{"weights", memory.weights},
        {"activations", memory.activations},
        {"sums", memory.hessians},
        {"fits", memory.pruning},
        {"states", memory.states},
        {"total", memory.peak}}},
      {"operations",
       {{"path", forecast.collecting}, {"path_rank", forecast.collecting_rank}, {"fits", forecast.pruning}}},
      {"moved", {{"sums", forecast.hessians_moved}, {"busiest_node", forecast.busiest_node}}}};
  clock.add("path", clock.compute(forecast.collecting_rank));
  clock.add("fits", clock.compute_in_fp32(forecast.pruning));
  clock.add("network", clock.network(static_cast<double>(forecast.busiest_node)));
  if (!forecast.too_small.empty()) phase.warnings.push_back(forecast.too_small);
}

/// What the layers of the whole model were, which `dense` writes of a pruned one.
std::vector<LayerShape> unpruned(const HfConfig& config) {
  return std::vector<LayerShape>(static_cast<std::size_t>(config.layers),
                                 even_layer_shape(config.heads, config.kv_heads, config.intermediate_size));
}

/// What a format's files hold.
std::int64_t stored_parameters(const ModelSizes& model, const ToStitch& stitched, const ExportFormat& format,
                               const ExportOptions& options) {
  const SearchSpace* space = stitched.space;
  if (space != nullptr && !format.smaller) return space->fixed_parameters + space->dense_parameters();
  if (space != nullptr && format.stored_shapes == nullptr) return space->parameters(stitched.assignment);
  HfConfig stored = model.config;
  if (space != nullptr) stored.layer_shapes = space->shapes(model.config, stitched.assignment);
  if (!format.smaller) stored.layer_shapes = unpruned(stored);
  if (format.stored_shapes != nullptr) stored.layer_shapes = format.stored_shapes(stored, options);
  return parameters_in_model(stored);
}

}  // namespace

PlannedPhase plan_stitch(const Machine& machine, const ModelSizes& model, const StitchOptions& options,
                         const ToStitch& stitched) {
  std::uint64_t total = 0, largest = 0, files = 0;
  std::vector<std::string> formats;
  Json json = Json::object();
  for (const ExportFormat* format : options.formats) {
    const std::int64_t parameters = stored_parameters(model, stitched, *format, options);
    const auto bytes = static_cast<std::uint64_t>(static_cast<double>(parameters) *
                                                  format->bytes_of_element(model.stored, options));
    const std::uint64_t count = (bytes + options.shard_bytes - 1) / options.shard_bytes;
    formats.push_back(fmt::format("{}{} parameters, {} in {} file{}",
                                  options.formats.size() > 1 ? std::string(format->name) + ": " : "",
                                  count_text(parameters), human_bytes(bytes), count, count == 1 ? "" : "s"));
    json[format->name] = {{"parameters", parameters}, {"file_bytes", bytes}, {"files", count}};
    total += bytes;
    largest = std::max(largest, bytes);
    files = std::max(files, count);
  }
  // A file's tensors, and one level as it is widened and put into place.
  const bool as_it_is = stitched.space == nullptr;
  const auto level =
      as_it_is ? 0
               : static_cast<std::uint64_t>(model.config.hidden_size * model.config.intermediate_size) *
                     sizeof(float);
  // The largest tensor; where layers are brought into other shapes also as it was, and as it is on its way.
  const auto matrix =
      static_cast<std::uint64_t>(std::max(model.config.vocab_size, model.config.intermediate_size) *
                                 model.config.hidden_size) *
      size_of(model.stored);
  const bool reshaped = std::ranges::any_of(options.formats, [&](const ExportFormat* format) {
    return format->stored_shapes != nullptr || (as_it_is && !format->smaller);
  });
  const std::uint64_t memory =
      std::max(std::min(largest, options.shard_bytes), matrix) + 2 * level + (reshaped ? 2 * matrix : 0);
  PlannedPhase phase;
  phase.name = "stitch";
  phase.rows = {{"writes", stitched.what},
                {"model", fmt::format("{}", fmt::join(formats, "; "))},
                {"memory of a rank",
                 fmt::format("{}; {} of {} ranks write", human_bytes(memory),
                             std::min<std::uint64_t>(files, static_cast<std::uint64_t>(machine.ranks)),
                             machine.ranks)}};
  phase.json = json.front();
  phase.json["writes"] = stitched.what;
  phase.json["file_bytes"] = total;
  if (options.formats.size() > 1) phase.json["formats"] = std::move(json);
  phase.json["memory"] = {{"total", memory}};
  Clock clock(machine);
  if (options.refit) add_refit(machine, model, *options.refit, stitched, files, phase, clock);
  clock.add("disk", clock.disk(2 * static_cast<double>(total)));  // what is read, and what is written
  clock.write_to(phase);
  check_rank(phase, memory, machine.host_share(), "use a smaller --shard-size, or fewer ranks per node");
  return phase;
}

}  // namespace galapagos::app
