#include "plan_commands.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/cost.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/pruning/forecast.hpp>
#include <galapagos/search/forecast.hpp>

namespace galapagos::app {
PlannedPhase plan_database(const Machine& machine, const DatabaseOptions& options,
                           const DatabaseHeader& header) {
  const std::uint64_t limit = machine.limit(options.memory_limit);
  const DatabaseForecast forecast =
      options.path ? forecast_path(header, options, machine.ranks, machine.ranks_per_node(), limit,
                                   machine.host_share(), machine.device())
                   : forecast_database(header, options, machine.ranks, machine.ranks_per_node(), limit,
                                       machine.device());
  const DatabaseMemory& memory = forecast.memory;
  PlannedPhase phase;
  phase.name = "database";
  phase.rows = {
      {"calibration", fmt::format("{} tokens, sequences up to {}", count_text(options.calibration_tokens),
                                  count_text(header.sequence_length))},
      {"grid", options.path ? fmt::format("{} lanes, {} modules one after the other", machine.ranks,
                                          header.modules().size())
                            : fmt::format("{}; {} modules in {} pass{} over the data",
                                          grid_text(forecast.grid, machine.ranks), header.modules().size(),
                                          forecast.passes.size(), forecast.passes.size() == 1 ? "" : "es")},
      {machine.memory_name(),
       fmt::format("{}; weights {}, activations {}, Hessians {}, pruning {}, not all at a time",
                   human_bytes(memory.peak), human_bytes(memory.weights), human_bytes(memory.activations),
                   human_bytes(memory.hessians), human_bytes(memory.pruning)) +
           (options.path
                ? "; hidden states of its tokens, in the node's memory, " + human_bytes(memory.states)
                : std::string())},
      {"file", fmt::format("{} ({} levels, {})", human_bytes(forecast.file),
                           header.levels.empty() ? 0 : header.levels.begin()->second.size() - 1,
                           name_of(header.dtype))},
      {"work", fmt::format("collection {} ({} a rank), pruning {} ({} a rank)",
                           human_operations(forecast.collecting), human_operations(forecast.collecting_rank),
                           human_operations(forecast.pruning), human_operations(forecast.pruning_rank))},
      {"moved", fmt::format("hidden states {}, Hessians {}; by one node {}; read {}, written {}",
                            human_bytes(forecast.hidden_moved), human_bytes(forecast.hessians_moved),
                            human_bytes(forecast.busiest_node), human_bytes(forecast.read),
                            human_bytes(forecast.file))}};
  Json& json = phase.json;
  json["calibration_tokens"] = options.calibration_tokens;
  json["sequence_length"] = header.sequence_length;
  json["grid"] = {
      {"stages", forecast.grid.stages()}, {"lanes", forecast.grid.lanes}, {"spans", spans_of(forecast.grid)}};
  json["passes"] = forecast.passes.size();
  json["memory"] = {{"weights", memory.weights},
                    {"activations", memory.activations},
                    {"hessians", memory.hessians},
                    {"pruning", memory.pruning},
                    {"total", memory.peak}};
  if (options.path) json["memory"]["states"] = memory.states;
  json["file_bytes"] = forecast.file;
  json["operations"] = {{"collection", forecast.collecting},
                        {"collection_rank", forecast.collecting_rank},
                        {"pruning", forecast.pruning},
                        {"pruning_rank", forecast.pruning_rank}};
  json["moved"] = {{"hidden_states", forecast.hidden_moved},
                   {"hessians", forecast.hessians_moved},
                   {"busiest_node", forecast.busiest_node},
                   {"read", forecast.read},
                   {"written", forecast.file}};
  Clock clock(machine);
  clock.add("collection", clock.compute(forecast.collecting_rank) / (1 - forecast.waiting));
  clock.add("pruning", clock.compute_in_fp32(forecast.pruning_rank, forecast.pruning_streamed));
  clock.add("network", clock.network(static_cast<double>(forecast.busiest_node)));
  clock.add("disk", clock.disk(static_cast<double>(forecast.read + forecast.file)));
  clock.write_to(phase);
  if (forecast.too_small.empty()) {
    check_rank(phase, memory.peak, limit, "use fewer ranks per node, or a smaller --batch-tokens");
  } else {
    json["memory"]["limit"] = limit;
    phase.warnings.push_back(forecast.too_small);
  }
  return phase;
}

PlannedPhase plan_search(const Machine& machine, const ModelSizes& model, const SearchOptions& options,
                         const SearchSpace& space, DType stored) {
  SearchSizes sizes;
  sizes.precision = model.precision;
  sizes.stored = stored;
  sizes.sequence_length = options.sequence_length;
  sizes.pool_tokens = options.calibration_tokens;
  sizes.ranks = machine.ranks;
  sizes.ranks_per_node = machine.ranks_per_node();
  sizes.limit = machine.limit(options.memory_limit);
  sizes.device = machine.device();
  sizes.host = machine.host_limit();
  const SearchForecast forecast = forecast_search(space, model.config, options, sizes);
  const SearchFootprint& footprint = forecast.footprint;
  const EvolutionOptions& evolution = options.evolution;
  const auto generations = static_cast<double>(evolution.generations);
  const auto comparisons = static_cast<double>(forecast.comparisons);
  const double all_generations = forecast.learning + generations * forecast.generation +
                                 comparisons * forecast.comparison + forecast.asking;
  const int shards = options.shards;
  const bool sharded = shards > 1;
  PlannedPhase phase;
  phase.name = "search";
  phase.rows = {
      {"target", fmt::format("{} of {} parameters (uniform assignment)", count_text(forecast.parameters),
                             count_text(forecast.dense_parameters))},
      {"grid",
       fmt::format(
           "{} islands; {}{}", evolution.islands, sharded ? replicas_text(machine, shards) + "; " : "",
           forecast.islands_of_rank > 1
               ? fmt::format("up to {} islands a {}", forecast.islands_of_rank, sharded ? "replica" : "rank")
               : fmt::format("{} {} share an island's candidates", forecast.ranks_of_island,
                             sharded ? "replicas" : "ranks"))},
      {machine.memory_name(),
       fmt::format("{} = weights {} + modules {} + activations {} + candidates' states {} + logits {}{}",
                   human_bytes(forecast.rank_memory), human_bytes(footprint.dense),
                   human_bytes(forecast.modules), human_bytes(footprint.activations),
                   human_bytes(footprint.states), human_bytes(footprint.logits),
                   footprint.training > 0 ? (trains(evolution) ? " + fine-tuning " : " + learning levels ") +
                                                human_bytes(footprint.training)
                                          : "")},
      {"shared by a node",
       fmt::format("{} = dense answers {} + levels {}", human_bytes(forecast.node_shared),
                   human_bytes(forecast.answers), human_bytes(forecast.node_shared - forecast.answers))},
      {"level cache", fmt::format("{} (all levels built {}, in the database {})", name_of(forecast.home),
                                  human_bytes(footprint.built), human_bytes(footprint.stored))},
      {"work",
       fmt::format(
           "dense answers {}; {}~ a generation {} ({} a rank, {:.0f} evaluations, {:.0f} % of "
           "the layers{}); in all {}",
           human_operations(forecast.answering),
           forecast.learning > 0 ? fmt::format("~ learning levels {}; ", human_operations(forecast.learning))
                                 : std::string(),
           human_operations(forecast.generation), human_operations(forecast.generation_rank),
           forecast.evaluations, 100 * forecast.computed,
           forecast.training > 0 ? ", fine-tuning " + human_operations(forecast.training) : std::string(),
           human_operations(forecast.answering + all_generations))},
      {"moved",
       fmt::format(
           "{}migration {} a rank and generation; ~ switches up to {}; read {}; checkpoint {}{}",
           sharded ? fmt::format("among the shards of a replica, by a rank: ~ {} a generation, {} for "
                                 "the dense answers; ",
                                 bytes_text(forecast.generation_moved), bytes_text(forecast.answering_moved))
                   : std::string(),
           human_bytes(forecast.exchanged), bytes_text(forecast.switched_rank), human_bytes(forecast.read),
           human_bytes(forecast.checkpoint),
           forecast.archive > 0 ? ", archive " + human_bytes(forecast.archive) : std::string())}};
  if (!options.choices.empty()) {
    phase.rows.emplace_back(
        "questions", forecast.asking > 0 ? "~ " + human_operations(forecast.asking) + " at the end"
                                         : "not counted: " + options.choices.string() + " holds none here");
  }
  Json& json = phase.json;
  json["calibration_tokens"] = options.calibration_tokens;
  json["parameters"] = forecast.parameters;
  json["dense_parameters"] = forecast.dense_parameters;
  json["islands"] = evolution.islands;
  json["ranks_of_island"] = forecast.ranks_of_island;
  json["islands_of_rank"] = forecast.islands_of_rank;
  json["shards"] = shards;
  json["level_cache"] = name_of(forecast.home);
  json["memory"] = {{"weights", footprint.dense},           {"modules", forecast.modules},
                    {"activations", footprint.activations}, {"states", footprint.states},
                    {"logits", footprint.logits},           {"training", footprint.training},
                    {"total", forecast.rank_memory},        {"node_answers", forecast.answers},
                    {"node_shared", forecast.node_shared}};
  json["levels"] = {{"built", footprint.built}, {"stored", footprint.stored}};
  json["checkpoint_bytes"] = forecast.checkpoint;
  if (forecast.archive > 0) json["archive_bytes"] = forecast.archive;
  json["evaluations_per_generation"] = forecast.evaluations;
  json["computed_share"] = forecast.computed;
  json["operations"] = {{"answers", forecast.answering},
                        {"learning", forecast.learning},
                        {"generation", forecast.generation},
                        {"training", forecast.training},
                        {"generation_rank", forecast.generation_rank},
                        {"comparison", forecast.comparison},
                        {"choices", forecast.asking},
                        {"total", forecast.answering + all_generations}};
  json["moved"] = {{"exchanged_per_generation", forecast.exchanged},
                   {"switched_per_generation", forecast.switched_rank},
                   {"shards",
                    {{"answers", forecast.answering_moved},
                     {"generation", forecast.generation_moved},
                     {"comparison", forecast.comparison_moved}}},
                   {"read", forecast.read}};
  Clock clock(machine);
  clock.add("answers", clock.compute(forecast.answering_rank));
  if (forecast.learning > 0) clock.add("learning levels", clock.compute(forecast.learning_rank));
  clock.add("generations", generations * clock.compute(forecast.generation_rank,
                                                       forecast.streamed_rank + 3 * forecast.switched_rank));
  clock.add("comparisons", comparisons * clock.compute(forecast.comparison_rank));
  if (forecast.asking > 0) clock.add("questions", clock.compute(forecast.asking_rank));
  const double of_shards = forecast.answering_moved + forecast.learning_moved +
                           generations * forecast.generation_moved + comparisons * forecast.comparison_moved;
  clock.add("network",
            clock.network(generations * static_cast<double>(forecast.exchanged) * machine.ranks_per_node() +
                          of_shards * machine.split_replicas(shards)));
  const double from_file = forecast.home == LevelHome::file ? generations * forecast.switched_rank : 0;
  clock.add("disk", clock.disk(static_cast<double>(forecast.read) + from_file * machine.ranks +
                               generations * static_cast<double>(forecast.checkpoint)));
  clock.write_to(phase);
  if (!forecast.fits) {
    const std::uint64_t of_node =
        sizes.host ? 0 : forecast.node_shared / static_cast<std::uint64_t>(sizes.ranks_per_node);
    check_rank(
        phase, forecast.rank_memory + of_node, sizes.limit,
        "use more --shards, fewer ranks per node, fewer --calibration-tokens or --compare-tokens, a smaller "
        "--batch-tokens, or --level-cache file");
    if (sizes.host && forecast.node_shared > *sizes.host) {
      phase.warnings.push_back(fmt::format(
          "the ranks of a node share {} of its memory and may use {}; use fewer --calibration-tokens, or "
          "--level-cache file",
          human_bytes(forecast.node_shared), human_bytes(*sizes.host)));
    }
  }
  json["memory"]["limit"] = sizes.limit;
  return phase;
}

}  // namespace galapagos::app
