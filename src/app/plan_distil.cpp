#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>

namespace galapagos::app {
namespace {

/// Operations of fitting what all layers' parts put out.
struct FitOperations {
  double of_token = 0;
  double of_rank = 0;  ///< one solves, the others wait
};

FitOperations fit_operations(const HfConfig& config, const HfConfig& reference, double seen) {
  constexpr double solutions = 7;  // a ridge each, and the one that is taken
  const auto hidden = static_cast<double>(config.hidden_size);
  FitOperations sum;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const LayerShape &shape = config.shape(layer), &whole = reference.shape(layer);
    if (shape.heads() > 0) {
      sum.of_token += attention_operations(config, shape.heads(), shape.kv_heads, seen) +
                      attention_operations(reference, whole.heads(), whole.kv_heads, seen);
    }
    // For the sums of the feed-forward part, and to measure the fit.
    sum.of_token += 2 * layer_operations(config, shape, seen);
    for (const std::int64_t columns : {shape.heads() * config.head_dim, shape.columns}) {
      const auto n = static_cast<double>(columns);
      sum.of_token += n * n + 2 * n * hidden;
      sum.of_rank += solutions * (n * n * n / 3 + 2 * n * n * hidden);
    }
  }
  return sum;
}

}  // namespace

PlannedPhase plan_distil(const Machine& machine, const ModelSizes& model, const ModelSizes& reference,
                         const DistilOptions& options, std::int64_t sequence_length, std::int64_t tokens) {
  const HfConfig& config = model.config;
  const std::int64_t of_rank = (tokens + machine.ranks - 1) / machine.ranks;
  const DistilFootprint footprint = distil_footprint(
      config, reference.config, std::max(size_of(model.precision), size_of(reference.precision)),
      machine.device(), activations_of(machine, model),
      std::max(sequence_length, std::min(options.batch_tokens, tokens)), of_rank, machine.ranks);
  const std::int64_t trained_on = tokens - tokens / 8;  // the rest is held out
  const std::int64_t updates =
      options.epochs * ((trained_on + options.step_tokens - 1) / options.step_tokens);
  const double seen = mean_seen(sequence_length);
  const double forward = span_operations(config, 0, config.layers, seen);
  const double teacher = span_operations(reference.config, 0, reference.config.layers, seen);
  const FitOperations fit = options.refit ? fit_operations(config, reference.config, seen) : FitOperations();
  // Forward and back in every epoch; forward for both errors and to move on.
  const double training = 3 * static_cast<double>(options.epochs * trained_on) * forward;
  const double rest = static_cast<double>(tokens) * (teacher + 3 * forward + fit.of_token);
  const double total = training + rest + machine.ranks * fit.of_rank;
  const auto sequences = std::max<std::int64_t>(1, options.step_tokens / sequence_length);
  const double share =
      static_cast<double>((sequences + machine.ranks - 1) / machine.ranks) / static_cast<double>(sequences);
  const double of_one = share * training + rest / machine.ranks + fit.of_rank;
  const std::int64_t parameters = parameters_in_layers(config);
  const double moved = moved_by_sum(static_cast<double>(parameters) * sizeof(float), machine.ranks);
  const double adamw = ShardedAdamW::streamed(parameters, machine.ranks, model.precision);
  const std::uint64_t layers = static_cast<std::uint64_t>(parameters) * size_of(model.stored);
  const std::uint64_t file =
      layers + static_cast<std::uint64_t>(parameters_outside_layers(config)) * size_of(model.stored);

  PlannedPhase phase;
  phase.name = "distil";
  phase.rows = {
      {"data", fmt::format("{} tokens, sequences up to {}; {} updates of {} tokens for each of {} layers",
                           count_text(tokens), count_text(sequence_length), count_text(updates),
                           count_text(options.step_tokens), config.layers)},
      {machine.memory_name(),
       fmt::format("{} = layers {} + training one {} + hidden states{} {}",
                   human_bytes(footprint.weights + footprint.training + footprint.states),
                   human_bytes(footprint.weights), human_bytes(footprint.training),
                   machine.gpu_memory > 0 ? " on the host" : "", human_bytes(footprint.states))},
      {"files", fmt::format("model {}; its layers besides until it is complete", human_bytes(file))},
      {"work", fmt::format("{}, {} a rank, {:.0f} % of it in the reference", human_operations(total),
                           human_operations(of_one), 100 * static_cast<double>(tokens) * teacher / total)},
      {"moved", fmt::format("gradients and weights {} a rank; written {}",
                            bytes_text(static_cast<double>(updates) * moved),
                            bytes_text(static_cast<double>(layers + file)))}};
  Json& json = phase.json;
  json["tokens"] = tokens;
  json["updates"] = updates;
  json["memory"] = {{"weights", footprint.weights},
                    {"training", footprint.training},
                    {"hidden_states", footprint.states},
                    {"total", footprint.weights + footprint.training + footprint.states}};
  json["file_bytes"] = file;
  json["operations"] = {{"total", total}, {"rank", of_one}};
  json["moved"] = static_cast<double>(updates) * moved;
  Clock clock(machine);
  clock.add("layers", clock.compute(of_one));
  clock.add("optimiser", static_cast<double>(updates) * clock.compute(0, adamw));
  clock.add("network", machine.nodes > 1
                           ? clock.network(static_cast<double>(updates) * moved * machine.ranks_per_node())
                           : 0);
  clock.add("disk", clock.disk(static_cast<double>(2 * (layers + file))));
  clock.write_to(phase);
  check_rank(phase, footprint.on(machine.device()), machine.limit(options.memory_limit),
             "use more ranks on more nodes, fewer --tokens or a smaller --batch-tokens");
  return phase;
}

}  // namespace galapagos::app
