#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/model/training_pass.hpp>
#include <galapagos/training/footprint.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos::app {
namespace {

/// Operations per token.
struct TokenWork {
  double forward = 0;
  double recomputing = 0;
  double reference = 0;

  double training() const { return 3 * forward; }  // the way back costs two forward passes
  double all() const { return training() + recomputing + reference; }
};

TokenWork work_of(const HfConfig& config, const std::optional<ModelSizes>& reference, bool recompute,
                  double seen, const TrainingLoss& loss) {
  TokenWork work;
  const bool logits = loss.text != 0 || loss.logits != 0;
  work.forward = span_operations(config, 0, config.layers, seen) + (logits ? logit_operations(config) : 0);
  // What goes on in the last layer is still there when the way back begins.
  if (recompute) work.recomputing = span_operations(config, 0, config.layers - 1, seen);
  if (reference) {
    const HfConfig& other = reference->config;
    work.reference = span_operations(other, 0, other.layers, seen);
    if (loss.logits != 0) work.reference += logit_operations(other);
  }
  return work;
}

/// What a training takes on the rank that needs most: one of the shards of a replica.
TrainFootprint largest_footprint(const HfConfig& config, const std::optional<ModelSizes>& reference,
                                 const TrainExtent& extent, int shards) {
  TrainFootprint largest;
  for (int shard = 0; shard < shards; ++shard) {
    ModelSource teacher;
    if (reference) {
      teacher.config = part_of_model(reference->config, shard, shards).config;
      teacher.precision = reference->precision;
    }
    const TrainFootprint footprint =
        train_footprint(part_of_model(config, shard, shards).config, reference ? &teacher : nullptr, extent);
    if (footprint.total() > largest.total()) largest = footprint;
  }
  return largest;
}

/// Bytes of a shard's activations, on the shard with most.
std::uint64_t most_activations(const HfConfig& config, const TrainExtent& extent, bool recompute,
                               int shards) {
  std::uint64_t most = 0;
  for (int shard = 0; shard < shards; ++shard) {
    const HfConfig part = part_of_model(config, shard, shards).config;
    most = std::max(most, TrainingPass::bytes(part, extent.longest_batch, recompute, extent.device,
                                              extent.activations, extent.loss));
  }
  return most;
}

/// Of one token, with the reference's forward pass. All shards have the hidden states that are compared.
ShardTraffic traffic_of(const HfConfig& config, const std::optional<ModelSizes>& reference, bool recompute,
                        const TrainExtent& extent) {
  const TrainingLoss& loss = extent.loss;
  ShardTraffic traffic = forward_traffic(config.hidden_size, config.layer_shapes, extent.activations);
  traffic += backward_traffic(config.hidden_size, config.layer_shapes, recompute, extent.activations,
                              config.features.post_norms);
  if (loss.text == 0 && loss.logits == 0) traffic.head = 0;
  if (loss.text != 0) traffic += nll_traffic;
  if (loss.logits != 0) {
    traffic += reference_traffic;
    traffic += divergence_traffic;
  }
  if (reference)
    traffic +=
        forward_traffic(reference->config.hidden_size, reference->config.layer_shapes, extent.activations);
  return traffic;
}

}  // namespace

PlannedPhase plan_train(const Machine& machine, const ModelSizes& model,
                        const std::optional<ModelSizes>& reference, const TrainOptions& options,
                        std::int64_t sequence_length, int shards) {
  const HfConfig& config = model.config;
  const std::int64_t parameters = parameters_in_model(config);
  const auto whole = static_cast<std::uint64_t>(parameters);
  const int replicas = machine.ranks / shards;
  TrainExtent extent;
  extent.precision = model.precision;
  extent.stored = model.stored;
  extent.longest_batch =
      std::max(sequence_length, std::min(options.batch_tokens, options.step_tokens + sequence_length));
  extent.evaluation_batch = options.eval_data.empty() ? 0 : extent.longest_batch;
  extent.data_tokens = options.tokens;
  extent.shard_bytes = options.shard_bytes;
  extent.replicas = replicas;
  extent.shards = shards;
  extent.recompute = options.recompute;
  extent.device = machine.device();
  extent.activations = activations_of(machine, model);
  extent.marked = options.responses_only;
  extent.loss = training_loss(options.loss, reference.has_value(), config);
  const TrainFootprint footprint = largest_footprint(config, reference, extent, shards);
  const std::uint64_t kept = most_activations(config, extent, false, shards);
  const std::uint64_t recomputed = most_activations(config, extent, true, shards);

  const std::int64_t update_tokens = std::min(options.step_tokens, options.tokens);
  const std::int64_t updates = (options.tokens + update_tokens - 1) / update_tokens;
  const std::int64_t sequences = (update_tokens + sequence_length - 1) / sequence_length;
  const std::int64_t of_replica = (sequences + replicas - 1) / replicas;
  const double share_of_replica = static_cast<double>(of_replica) / static_cast<double>(sequences);
  const double share = share_of_replica / shards;
  const TokenWork work =
      work_of(config, reference, options.recompute, mean_seen(sequence_length), extent.loss);
  const double update = static_cast<double>(update_tokens) * work.all();
  const double total = static_cast<double>(options.tokens) * work.all();
  // The ranks with the same part of their replicas sum gradients and gather new weights.
  const std::uint64_t of_shard = footprint.gradients / sizeof(float);
  const double moved = moved_by_sum(static_cast<double>(of_shard * sizeof(float)), replicas);
  const double adamw = ShardedAdamW::streamed(static_cast<std::int64_t>(of_shard), replicas, model.precision);
  const ShardTraffic summed = traffic_of(config, reference, options.recompute, extent)
                                  .times(share_of_replica * static_cast<double>(update_tokens))
                                  .moved(shards);
  const std::uint64_t checkpoint = 3 * whole * sizeof(float), file = whole * size_of(model.stored);
  const std::int64_t checkpoints =
      1 + (options.checkpoint_every > 0 ? (updates - 1) / options.checkpoint_every : 0);

  PlannedPhase phase;
  phase.name = "train";
  phase.rows = {
      {"data", fmt::format("{} tokens, sequences up to {}; {} updates of {} tokens, up to {} of their {} "
                           "sequences on a {}",
                           count_text(options.tokens), count_text(sequence_length), count_text(updates),
                           count_text(update_tokens), count_text(of_replica), count_text(sequences),
                           shards > 1 ? "replica; " + replicas_text(machine, shards) : "rank")},
      {machine.memory_name(),
       fmt::format("{} = weights {} + gradients {} + optimiser {} + activations {} ({}){} + data {} + "
                   "evaluating or writing {}",
                   human_bytes(footprint.total()), human_bytes(footprint.weights),
                   human_bytes(footprint.gradients), human_bytes(footprint.optimiser),
                   human_bytes(footprint.activations),
                   options.recompute ? "without --recompute " + human_bytes(kept)
                                     : "with --recompute " + human_bytes(recomputed),
                   reference_text(footprint, " + "), human_bytes(footprint.data),
                   human_bytes(std::max(footprint.evaluation, footprint.writing)))},
      {"files", fmt::format("model {}; checkpoint {}, of which there are up to three at a time",
                            human_bytes(file), human_bytes(checkpoint))},
      {"work", fmt::format("an update {} ({} a rank); in all {}{}{}", human_operations(update),
                           human_operations(share * update), human_operations(total),
                           work.recomputing > 0 ? fmt::format(", {:.0f} % of it to recompute",
                                                              100 * work.recomputing / work.all())
                                                : std::string(),
                           work.reference > 0 ? fmt::format(", {:.0f} % of it in the reference",
                                                            100 * work.reference / work.all())
                                              : std::string())},
      {"moved", fmt::format("gradients and weights {} a rank and update; {}written {}", bytes_text(moved),
                            shards > 1 ? "among the shards of a replica, by a rank and update: " +
                                             traffic_text(summed) + "; "
                                       : std::string(),
                            bytes_text(static_cast<double>(checkpoints) * static_cast<double>(checkpoint) +
                                       static_cast<double>(file)))}};
  Json& json = phase.json;
  json["tokens"] = options.tokens;
  json["updates"] = updates;
  json["parameters"] = parameters;
  json["memory"] = {{"weights", footprint.weights},     {"gradients", footprint.gradients},
                    {"optimiser", footprint.optimiser}, {"activations", footprint.activations},
                    {"activations_kept", kept},         {"activations_recomputed", recomputed},
                    {"reference", footprint.reference}, {"hidden_states", footprint.hidden},
                    {"data", footprint.data},           {"evaluation", footprint.evaluation},
                    {"writing", footprint.writing},     {"total", footprint.total()}};
  json["file_bytes"] = file;
  json["checkpoint_bytes"] = checkpoint;
  json["checkpoints"] = checkpoints;
  json["operations"] = {{"update", update},
                        {"update_rank", share * update},
                        {"recomputing", static_cast<double>(options.tokens) * work.recomputing},
                        {"reference", static_cast<double>(options.tokens) * work.reference},
                        {"total", total}};
  json["shards"] = shards;
  json["moved"] = {{"exchanged_per_update", moved},
                   {"optimiser_streamed", adamw},
                   {"shards_per_update", traffic_json(summed)}};
  Clock clock(machine);
  const auto times = static_cast<double>(updates);
  clock.add("layers", clock.compute(share * total));
  clock.add("optimiser", times * clock.compute(0, adamw));
  // A node has ranks of as many of these rings as it holds different shards.
  const double rings = machine.nodes > 1 ? std::min(shards, machine.ranks_per_node()) : 0;
  clock.add("network",
            times * clock.network(rings * moved + summed.total() * machine.split_replicas(shards)));
  clock.add("disk", clock.disk(static_cast<double>(machine.nodes) * static_cast<double>(file) +
                               static_cast<double>(checkpoints) * static_cast<double>(checkpoint) +
                               static_cast<double>(file)));
  clock.write_to(phase);
  // Of what lies on a GPU the data are no part.
  const std::uint64_t need = footprint.total() - (machine.gpu_memory > 0 ? footprint.data : 0);
  check_rank(phase, need, machine.limit(options.memory_limit),
             options.recompute ? "use fewer ranks per node or a smaller --sequence-length, --batch-tokens"
                               : "use --recompute, fewer ranks per node, or a smaller --sequence-length, "
                                 "--batch-tokens");
  return phase;
}

}  // namespace galapagos::app
