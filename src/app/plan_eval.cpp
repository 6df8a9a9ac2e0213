#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos::app {
namespace {

struct Evaluated {
  const ModelSizes& model;
  const std::optional<ModelSizes>& reference;
  std::int64_t most_tokens = 1;  ///< of a batch
  std::int64_t tokens = 0;
  double seen = 1;
  DType activations = DType::f32;

  std::vector<const ModelSizes*> models() const {
    std::vector<const ModelSizes*> all = {&model};
    if (reference) all.push_back(&*reference);
    return all;
  }
};

/// The models as one of several shards holds them; only their sizes.
std::vector<ModelSource> sources_of(const Evaluated& evaluated, int shard, int shards) {
  std::vector<ModelSource> sources;
  for (const ModelSizes* model : evaluated.models()) {
    ModelSource source;
    source.config = part_of_model(model->config, shard, shards).config;
    source.precision = model->precision;
    sources.push_back(std::move(source));
  }
  return sources;
}

std::vector<const ModelSource*> pointers_to(const std::vector<ModelSource>& sources) {
  std::vector<const ModelSource*> pointers;
  for (const ModelSource& source : sources) pointers.push_back(&source);
  return pointers;
}

/// Operations of a token in a span of layers, with the logits after the last of them.
double operations_of(const Evaluated& evaluated, const LayerSpan& span) {
  double operations = 0;
  for (const ModelSizes* one : evaluated.models()) {
    operations += span_operations(one->config, span.first, span.last, evaluated.seen);
    if (span.last == one->config.layers) operations += logit_operations(one->config);
  }
  return operations;
}

/// What a rank has to do with either grid.
struct Load {
  std::uint64_t memory = 0;
  double operations = 0;  // of the busiest rank
  double waiting = 1;     // its time over the time of its work
  double network = 0;     // bytes that a node sends
};

Load load_of_stages(PlannedPhase& phase, const Machine& machine, const Evaluated& evaluated,
                    const EvaluationOptions& options, std::uint64_t limit) {
  const HfConfig& config = evaluated.model.config;
  const std::vector<ModelSource> sources = sources_of(evaluated, 0, 1);
  const std::vector<const ModelSource*> models = pointers_to(sources);
  PipelineGrid grid;
  try {
    grid = evaluation_grid(models, machine.ranks, evaluated.most_tokens, limit > 0 ? limit : UINT64_MAX,
                           machine.device(), evaluated.activations);
  } catch (const ResourceError& error) {
    phase.warnings.push_back(error.what());
    const auto stages = static_cast<int>(std::min<std::int64_t>(machine.ranks, config.layers));
    grid.spans = balanced_spans(layer_costs(config), stages);
    grid.lanes = machine.ranks / stages;
  }
  Load load;
  for (const LayerSpan& span : grid.spans) {
    load.memory = std::max(load.memory, evaluation_bytes(models, span, evaluated.most_tokens,
                                                         machine.device(), evaluated.activations));
    load.operations = std::max(load.operations, operations_of(evaluated, span));
  }
  const double of_lane = static_cast<double>(evaluated.tokens) / grid.lanes;
  load.operations *= of_lane;
  const double batches = std::max(1.0, of_lane / static_cast<double>(options.batch_tokens));
  load.waiting = (batches + grid.stages() - 1) / batches;
  const auto moved = static_cast<double>(grid.stages() - 1) * static_cast<double>(evaluated.tokens) *
                     static_cast<double>(config.hidden_size) * static_cast<double>(models.size()) *
                     sizeof(float);
  phase.rows.emplace_back("grid", grid_text(grid, machine.ranks));
  phase.rows.emplace_back("moved", fmt::format("hidden states {}", bytes_text(moved)));
  phase.json["grid"] = {{"stages", grid.stages()}, {"lanes", grid.lanes}, {"spans", spans_of(grid)}};
  phase.json["moved"] = {{"hidden_states", moved}};
  load.network = moved / machine.nodes;
  return load;
}

Load load_of_shards(PlannedPhase& phase, const Machine& machine, const Evaluated& evaluated, int shards) {
  const HfConfig& config = evaluated.model.config;
  const LayerSpan all = {0, config.layers};
  const int replicas = machine.ranks / shards;
  const double of_replica = static_cast<double>(evaluated.tokens) / replicas;
  Load load;
  for (int shard = 0; shard < shards; ++shard) {
    const std::vector<ModelSource> sources = sources_of(evaluated, shard, shards);
    load.memory = std::max(load.memory, evaluation_bytes(pointers_to(sources), all, evaluated.most_tokens,
                                                         machine.device(), evaluated.activations, 1));
  }
  load.operations = of_replica * operations_of(evaluated, all) / shards;
  ShardTraffic of_token = nll_traffic;
  for (const ModelSizes* one : evaluated.models()) {
    of_token += forward_traffic(one->config.hidden_size, one->config.layer_shapes, evaluated.activations);
    of_token += likeliest_traffic;
  }
  if (evaluated.reference) {
    of_token += reference_traffic;
    of_token += divergence_traffic;
  }
  const ShardTraffic moved = of_token.times(of_replica).moved(shards);
  phase.rows.emplace_back("grid", replicas_text(machine, shards));
  phase.rows.emplace_back("moved",
                          fmt::format("among the shards of a replica, by a rank: {}", traffic_text(moved)));
  phase.json["grid"] = {{"replicas", replicas}, {"shards", shards}};
  phase.json["moved"] = {{"shards", traffic_json(moved)}};
  load.network = moved.total() * machine.split_replicas(shards);
  return load;
}

}  // namespace

PlannedPhase plan_eval(const Machine& machine, const ModelSizes& model,
                       const std::optional<ModelSizes>& reference, const EvaluationOptions& options,
                       std::int64_t sequence_length, std::int64_t tokens, int shards) {
  const Evaluated evaluated{model,
                            reference,
                            std::max(options.batch_tokens, sequence_length),
                            tokens,
                            mean_seen(sequence_length),
                            activations_of(machine, model)};
  const std::uint64_t limit = machine.limit(options.memory_limit);
  PlannedPhase phase;
  phase.name = "eval";
  phase.rows.emplace_back(
      "data", fmt::format("{} tokens, sequences up to {}", count_text(tokens), count_text(sequence_length)));
  const Load load = shards > 1 ? load_of_shards(phase, machine, evaluated, shards)
                               : load_of_stages(phase, machine, evaluated, options, limit);
  const double total = static_cast<double>(tokens) * operations_of(evaluated, {0, model.config.layers});
  const auto before_moved = phase.rows.end() - 1;
  phase.rows.insert(
      before_moved,
      {{machine.memory_name(), human_bytes(load.memory)},
       {"work", fmt::format("{} ({} a rank)", human_operations(total), human_operations(load.operations))}});
  phase.json["tokens"] = tokens;
  phase.json["memory"] = {{"total", load.memory}};
  phase.json["operations"] = {{"total", total}, {"rank", load.operations}};
  Clock clock(machine);
  clock.add("layers", clock.compute(load.operations) * load.waiting);
  clock.add("network", clock.network(load.network));
  clock.write_to(phase);
  if (phase.warnings.empty()) {
    check_rank(phase, load.memory, limit,
               shards > 1 ? "use more --shards, or a smaller --batch-tokens"
                          : "use more ranks, or a smaller --batch-tokens");
  }
  phase.json["memory"]["limit"] = limit;
  return phase;
}

}  // namespace galapagos::app
