#include "choice_contest.hpp"
#include "dealing.hpp"
#include "gradient_start.hpp"
#include "records.hpp"
#include "work_counter.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include <galapagos/model/cost.hpp>
#include <galapagos/search/forecast.hpp>
#include <galapagos/search/front.hpp>
#include <galapagos/search/least_loss.hpp>
#include <galapagos/search/race_lines.hpp>
#include <galapagos/search/strategy.hpp>

namespace galapagos {
namespace {

/// Where a structure stands among all that go from everywhere alike, as they do in a real database, so that
/// shards have equal parts of what is left: by the fractions of the golden ratio's multiples, of which any
/// first few are spread evenly (Weyl).
double place_of(std::int32_t structure) {
  const double turns = 0.6180339887498949 * structure;
  return turns - std::floor(turns);
}

/// One head out of every KV group in turn; whole groups and columns from everywhere alike.
std::vector<std::int32_t> expected_order(const LayerShape& shape, const StructureLayout& layout,
                                         const ModuleId& module, const HfConfig& config) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(layout.structures()));
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::int64_t> turn(order.size());  // of a head in its group
  std::vector<double> place;
  const bool heads = module.kind == ModuleKind::attention && layout.unit == config.head_dim;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool same_group = heads && i > 0 && shape.kv_of_head[i] == shape.kv_of_head[i - 1];
    turn[i] = same_group ? turn[i - 1] + 1 : 0;
    place.push_back(place_of(heads ? shape.kv_of_head[i] : order[i]));
  }
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const auto one = static_cast<std::size_t>(a), other = static_cast<std::size_t>(b);
    return std::pair(turn[one], place[one]) < std::pair(turn[other], place[other]);
  });
  return order;
}

/// One generation of one island on a group of ranks, added up over its stages; on the mean over a few.
void count_generation(const Strategy& strategy, const Assignment& parent, const SearchOptions& options,
                      const WorkCounter& counter, SearchForecast& forecast) {
  constexpr std::int64_t samples = 8;
  const EvolutionOptions& evolution = options.evolution;
  IslandState state;
  state.elites.push_back({parent, 0.0});
  const auto islands = static_cast<double>(evolution.islands);
  double layers = 0, unshared = 0;
  for (std::int64_t sample = 1; sample <= samples; ++sample) {
    std::vector<Assignment> candidates;
    for (Offspring& one : strategy.propose({0, sample}, state, {Surrogate(), SurrogateMoments()}))
      candidates.push_back(std::move(one.assignment));
    for (const SelectionStage& stage : evolution.stages) {
      const bool last = &stage == &evolution.stages.back();
      if (last) candidates.insert(candidates.begin(), parent);
      const bool tuned = stage.training_tokens > 0;
      struct Share {
        Work work;
        double switched = 0;
      };
      std::vector<Share> shares(static_cast<std::size_t>(forecast.ranks_of_island));
      for (const auto& chunk : make_chunks(candidates, parent, forecast.ranks_of_island, tuned)) {
        std::vector<Assignment> own;
        for (const std::size_t i : chunk) own.push_back(candidates[i]);
        const Work work =
            tuned ? counter.tuned_fitness(own, stage) : counter.fitness(parent, own, stage.tokens);
        forecast.generation += islands * work.operations / samples;
        layers += work.layers;
        // The rank that is free first takes it.
        Share& share = *std::min_element(shares.begin(), shares.end(), [](const Share& a, const Share& b) {
          return a.work.operations < b.work.operations;
        });
        share.work += work;
        share.switched += counter.switched(parent, own);
        for (const Assignment& one : own) {
          if (tuned)
            forecast.training += islands * counter.training(one, stage.training_tokens).operations / samples;
          unshared += counter.layers(one, stage.tokens);
        }
      }
      double most_operations = 0, most_streamed = 0, most_switched = 0, most_moved = 0;
      for (const Share& share : shares) {
        most_operations = std::max(most_operations, share.work.operations);
        most_streamed = std::max(most_streamed, share.work.streamed);
        most_switched = std::max(most_switched, share.switched);
        most_moved = std::max(most_moved, share.work.traffic.moved(options.shards).total());
      }
      const auto times = static_cast<double>(forecast.islands_of_rank) / samples;
      forecast.generation_rank += times * most_operations;
      forecast.streamed_rank += times * most_streamed;
      forecast.switched_rank += times * most_switched;
      forecast.generation_moved += times * most_moved;
      forecast.evaluations += islands * static_cast<double>(candidates.size()) / samples;
      candidates.resize(std::min(candidates.size(), static_cast<std::size_t>(stage.survivors)));
    }
  }
  forecast.computed = unshared > 0 ? layers / unshared : 1;
}

/// Learning levels from an assignment: a step's pieces are dealt to the replicas.
void count_learning(const Assignment& start, const SearchOptions& options, const WorkCounter& counter,
                    std::int64_t sequence_length, int replicas, SearchForecast& forecast) {
  const RelaxationOptions& relaxation = options.evolution.relaxation;
  const std::int64_t piece = sequence_length * std::max<std::int64_t>(1, piece_tokens / sequence_length);
  const std::int64_t pieces = (relaxation.tokens + piece - 1) / piece;
  const auto sizes = std::max<std::size_t>(1, options.targets.size());
  const std::int64_t of_all = static_cast<std::int64_t>(sizes) * steps_of_size(relaxation.steps, sizes);
  const auto steps = static_cast<double>(of_all);
  const Work of_step = counter.learning(start, relaxation.tokens);
  const double share = static_cast<double>((pieces + replicas - 1) / replicas) / static_cast<double>(pieces);
  const std::span<const Assignment> one(&start, 1);
  const double compared = counter.fitness(start, one, options.evolution.compare_tokens).operations;
  forecast.learning = steps * of_step.operations + 2 * compared;
  forecast.learning_rank =
      (share * steps * of_step.operations + (replicas > 1 ? 1 : 2) * compared) / options.shards;
  forecast.learning_moved = share * steps * of_step.traffic.moved(options.shards).total();
}

/// What ranks tell each other of a race, and the file of all of it.
void count_archive(const SearchSpace& space, const EvolutionOptions& evolution, int replicas,
                   SearchForecast& forecast) {
  MeasuredTrial longest;
  longest.trial = {Assignment(space.modules.size(), 10), Origin::crossover, -1.0 / 3};
  longest.sums.assign(most_segments, 1e3 / 3);
  const std::uint64_t trials = static_cast<std::uint64_t>(evolution.islands * (evolution.offspring + 1));
  const std::uint64_t of_generation = trials * (to_line(longest).size() + 1);
  forecast.exchanged = replicas > 1 ? of_generation : 0;
  forecast.archive = of_generation * static_cast<std::uint64_t>(evolution.generations);
}

/// Bytes of a rank that keeps every built module.
std::uint64_t all_of(const SearchFootprint& footprint) {
  return footprint.dense + footprint.activations + footprint.states + footprint.logits + footprint.training +
         footprint.built;
}

void choose_home(const SearchOptions& options, const SearchSizes& sizes, SearchForecast& forecast) {
  const SearchFootprint& footprint = forecast.footprint;
  const bool unlimited = sizes.limit == 0;
  const NodeRoom room = {unlimited ? UINT64_MAX : sizes.limit, sizes.ranks_per_node, sizes.host};
  const std::uint64_t limit = replica_limit(room, forecast.answers);
  forecast.home = fits_device(footprint, limit)                  ? LevelHome::device
                  : fits_host(footprint, forecast.answers, room) ? LevelHome::host
                                                                 : LevelHome::file;
  forecast.home = options.level_cache.value_or(forecast.home);
  // What is in use stays, however little room there is.
  forecast.modules = forecast.home == LevelHome::device
                         ? footprint.built
                         : std::max(forecast.in_use, cache_limit(footprint, forecast.home, limit));
  forecast.rank_memory = footprint.dense + footprint.activations + footprint.states + footprint.logits +
                         footprint.training + forecast.modules;
  forecast.node_shared = forecast.answers + (forecast.home == LevelHome::host ? footprint.stored : 0);
  const auto ranks = static_cast<std::uint64_t>(sizes.ranks_per_node);
  if (sizes.host) {
    forecast.fits = forecast.rank_memory <= room.rank && forecast.node_shared <= *sizes.host;
  } else {
    forecast.fits = unlimited || forecast.rank_memory * ranks + forecast.node_shared <= sizes.limit * ranks;
  }
}

}  // namespace

SearchSpace expected_space(const DatabaseHeader& header) {
  std::vector<std::int32_t> orders;
  std::map<std::int64_t, std::vector<std::int32_t>> of_columns;  // thousands of experts are alike
  for (const ModuleId& module : header.modules()) {
    const StructureLayout layout = header.layout(module);
    const bool attention = module.kind == ModuleKind::attention;
    std::vector<std::int32_t> own;
    std::vector<std::int32_t>& order = attention ? own : of_columns[layout.columns];
    if (order.empty())
      order = expected_order(header.config.shape(module.layer), layout, module, header.config);
    orders.insert(orders.end(), order.begin(), order.begin() + header.removed(module).back());
  }
  SearchSpace space = make_space(header, orders);
  space.assumed = true;
  return space;
}

namespace {

/// What timing a candidate whole holds.
std::uint64_t timing_bytes(const SearchSpace& space, const HfConfig& config, const SearchOptions& options,
                           const SearchSizes& sizes, const Budget& budget) {
  const LatencyPhase phase = options.target.phase();
  const LatencyTable table = read_latency_table(options.target.latency_table);
  const LatencyConditions& there = *table.conditions(phase);
  return whole_time_bytes(config, most_parameters(space, budget),
                          {there.batch, there.length, 1, sizes.precision}, phase,
                          ops::activation_type(sizes.device, sizes.precision));
}

}  // namespace

SearchForecast forecast_search(const SearchSpace& space, const HfConfig& config, const SearchOptions& options,
                               const SearchSizes& sizes) {
  SearchOptions resolved = options;
  EvolutionOptions& evolution = resolved.evolution;
  evolution.compare_tokens = compare_tokens(evolution, sizes.pool_tokens);
  if (options.start == name_of(StartKind::gradient) && evolution.strategy != StrategyKind::random)
    evolution.start.kind = StartKind::gradient;
  evolution.proposals = 0;  // the surrogate's, of which there is none yet: as many mutations stand for them
  const Budget budget = make_budget(space, options.target);
  const auto strategy = make_strategy(space, budget, evolution);
  const Assignment uniform = budget.uniform();
  const DType activations = ops::activation_type(sizes.device, sizes.precision);
  const WorkCounter counter(space, config, resolved, sizes.precision, activations, sizes.sequence_length);
  check_shards(sizes.ranks, options.shards);
  const int replicas = sizes.ranks / options.shards;

  SearchForecast forecast;
  forecast.ranks_of_island = Dealing::smallest_group(replicas, evolution.islands);
  forecast.islands_of_rank = (evolution.islands + replicas - 1) / replicas;
  forecast.parameters = space.parameters(uniform);
  forecast.dense_parameters = space.fixed_parameters + space.dense_parameters();
  for (int shard = 0; shard < options.shards; ++shard) {
    SearchFootprint footprint = search_footprint(
        space.every_module(), part_of_space(space.every_module(), config, shard, options.shards), evolution,
        options.fitness, options.tuning,
        {sizes.precision, sizes.stored, options.batch_tokens, sizes.sequence_length,
         most_parameters(space, budget), replicas, sizes.device,
         !options.eval_data.empty() || !options.choices.empty(), asked_of_races(options)});
    if (options.target.by_latency() && options.time_whole && options.shards == 1)  // if its table is of there
      footprint.training = std::max(footprint.training, timing_bytes(space, config, options, sizes, budget));
    if (shard == 0 || all_of(footprint) > all_of(forecast.footprint)) forecast.footprint = footprint;
  }
  const auto nodes = static_cast<double>((sizes.ranks + sizes.ranks_per_node - 1) / sizes.ranks_per_node);
  if (row_of(options.fitness.kind).with_dense) {
    forecast.answers = static_cast<std::uint64_t>(sizes.pool_tokens * config.hidden_size) * sizeof(float);
    const double once = static_cast<double>(sizes.pool_tokens) *
                        span_operations(config, 0, config.layers, mean_seen(sizes.sequence_length));
    // Every node for itself: its replicas take turns, one that reaches beyond it computes everything.
    const int turns = std::max(1, sizes.ranks_per_node / options.shards);
    forecast.answering_rank = once / (options.shards * turns);
    forecast.answering = options.shards == 1 ? nodes * once : sizes.ranks * forecast.answering_rank;
    forecast.answering_moved =
        static_cast<double>(sizes.pool_tokens) / turns *
        forward_traffic(config.hidden_size, config.layer_shapes, activations).moved(options.shards).total();
  }
  for (std::size_t i = 0; i < uniform.size(); ++i) {
    if (uniform[i] > 0) {
      forecast.in_use +=
          static_cast<std::uint64_t>(space.modules[i].parameters[static_cast<std::size_t>(uniform[i])]) *
          size_of(sizes.precision);
    }
  }
  const auto shards = static_cast<std::uint64_t>(options.shards);
  forecast.in_use = (forecast.in_use + shards - 1) / shards;
  choose_home(resolved, sizes, forecast);
  count_generation(*strategy, uniform, resolved, counter, forecast);
  if (evolution.start.kind == StartKind::gradient)
    count_learning(uniform, resolved, counter, sizes.sequence_length, replicas, forecast);
  for (double* of_rank : {&forecast.generation_rank, &forecast.streamed_rank, &forecast.switched_rank})
    *of_rank /= options.shards;

  SelectionStage compared = evolution.stages.back();
  compared.tokens = evolution.compare_tokens;
  const std::span<const Assignment> one(&uniform, 1);
  const Work work_of_one = compared.training_tokens > 0 ? counter.tuned_fitness(one, compared)
                                                        : counter.fitness(uniform, one, compared.tokens);
  const double measured = work_of_one.operations;
  const std::int64_t nested = options.nested ? std::ssize(options.targets) : 0;
  forecast.comparison = static_cast<double>(evolution.islands + asked_of_races(options) + nested) * measured;
  forecast.comparison_rank = static_cast<double>(forecast.islands_of_rank) * measured / options.shards;
  forecast.comparison_moved =
      static_cast<double>(forecast.islands_of_rank) * work_of_one.traffic.moved(options.shards).total();
  forecast.comparisons = evolution.eval_every > 0
                             ? std::max<std::int64_t>(1, (evolution.generations + evolution.eval_every - 1) /
                                                             evolution.eval_every)
                             : 1;
  if (const std::int64_t asked = assumed_choice_tokens(options.choices); asked > 0) {
    const auto most = static_cast<std::int64_t>(most_contestants);
    const std::int64_t met =
        evolution.strategy == StrategyKind::racing
            ? most
            : std::min(most, evolution.islands / std::max<std::int64_t>(1, std::ssize(options.targets)));
    const std::int64_t sizes_met = std::max<std::int64_t>(1, std::ssize(options.targets));
    forecast.asking = static_cast<double>(met * sizes_met) * counter.fitness(uniform, one, asked).operations;
    forecast.asking_rank = forecast.asking / (replicas * options.shards);
  }
  const std::size_t record = record_bytes(space.modules.size(), evolution, strategy->memory());
  forecast.exchanged = static_cast<std::uint64_t>(replicas) *
                       (sizeof(std::int64_t) + static_cast<std::size_t>(forecast.islands_of_rank) * record);
  if (evolution.strategy == StrategyKind::racing) {
    count_archive(space, evolution, replicas, forecast);
    std::error_code none;  // where it is elsewhere, the run will say so
    const std::uintmax_t known = std::filesystem::file_size(options.archive, none);
    if (!none) forecast.archive += known;
  }
  const std::uint64_t features = space.has_end_losses() ? surrogate_features(space) : 0;
  forecast.checkpoint =
      static_cast<std::uint64_t>(evolution.islands) * record + (1 << 16) +
      features * (features + 1) / 2 * sizeof(double) +
      (features > 0
           ? static_cast<std::uint64_t>(evolution.islands * evolution.generations * evolution.offspring) *
                 sizeof(std::uint64_t)
           : 0);
  forecast.read =
      static_cast<std::uint64_t>(nodes * std::min(options.shards, sizes.ranks_per_node)) *
          forecast.footprint.dense +
      (forecast.home == LevelHome::host ? static_cast<std::uint64_t>(nodes) : 1) * forecast.footprint.stored;
  return forecast;
}

}  // namespace galapagos
