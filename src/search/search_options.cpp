#include "choice_contest.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/search/front.hpp>
#include <galapagos/search/search_options.hpp>

namespace galapagos {

namespace {

void bind_islands(Options& list, SearchOptions& options) {
  EvolutionOptions& evolution = options.evolution;
  list.add("islands", evolution.islands, "subpopulations", {.least = 1, .decides = true});
  list.add("shards", options.shards, "ranks that hold one replica of the model");
  list.add("generations", evolution.generations, "of every island; none with --strategy sensitivity",
           {.least = 0});
  list.add("offspring", evolution.offspring, "per generation", {.least = 1, .decides = true});
  list.add("proposals", evolution.proposals,
           "of the offspring, made from what was predicted and measured so far; needs end losses",
           {.least = 0, .decides = evolution.proposals > 0, .indirectly = true});
  list.add("survivors", options.words.survivors, "of each stage of the selection",
           {.list = true, .indirectly = true});
  list.add("tokens", options.words.tokens, "compared on in each stage", {.list = true, .indirectly = true});
}

void bind_tuning(Options& list, SearchOptions& options) {
  const bool tunes = trains(options.evolution);
  list.add("training-tokens", options.words.training_tokens,
           "fine-tuned on in each stage before the comparison; 0: nothing",
           {.list = true, .indirectly = true});
  list.add("training-data", options.training_data, "files for that; the calibration files where not given",
           {.indirectly = true});
  list.add("learning-rate", options.tuning.options.learning_rate, "of the fine-tuning",
           {.least = 0, .most = 1, .above = true, .decides = tunes, .indirectly = true});
  list.add("recompute", options.tuning.options.recompute,
           "fine-tune with less memory: keep only what goes into each layer");
  list.add("reference-finetuning", options.tuning.unmasked,
           "fine-tune as DarwinLM's code does, where pruned weights are trained too (for comparison only)",
           {.decides = tunes, .indirectly = true});
}

void bind_learning(Options& list, SearchOptions& options) {
  RelaxationOptions& relaxation = options.evolution.relaxation;
  const bool learns = options.start == name_of(StartKind::gradient);
  list.add("gradient-steps", relaxation.steps, "of --start gradient",
           {.least = 1, .decides = learns, .indirectly = true});
  list.add("gradient-tokens", relaxation.tokens, "of the calibration data in each of them",
           {.least = 2, .decides = learns, .indirectly = true});
  list.add("gradient-spread", relaxation.spread,
           "levels by which a module's best one is expected to lie off its first one",
           {.least = 0, .most = 100, .above = true, .decides = learns, .indirectly = true});
}

void bind_racing(Options& list, SearchOptions& options) {
  RacingOptions& racing = options.evolution.racing;
  const bool races = options.evolution.strategy == StrategyKind::racing;
  list.add("block-tokens", racing.tokens, "on which --strategy racing measures a candidate at a time",
           {.least = 2, .decides = races, .indirectly = true});
  list.add("held-back", racing.held_back,
           "share of the calibration data on which racing only chooses its end",
           {.least = 0, .most = 0.9, .decides = races, .indirectly = true});
  list.add("archive", options.archive,
           "archive.jsonl of another race on the same tokens: what it measured is known from the beginning",
           {.indirectly = true});
  list.add("lag", racing.lag, "generations of racing that begin before the one before them has ended",
           {.least = 0, .most = 1000, .decides = races, .indirectly = true});
  list.add_text(
      "breeding",
      [&racing] {
        std::vector<std::string> names;
        for (const Origin way : racing.ways) names.push_back(name_of(way));
        return fmt::format("{}", fmt::join(names, " "));
      },
      [&racing](const std::string& text) { racing.ways = parse_ways(text); },
      "ways in which racing makes new candidates: mutation, stride, layer, removal, crossover, exchange",
      {.decides = races, .indirectly = true});
}

void bind_targets(Options& list, SearchOptions& options) {
  list.add_text(
      "targets", [&options] { return fmt::format("{}", fmt::join(options.targets, " ")); },
      [&options](const std::string& text) { options.targets = parse_targets(text); },
      "or: sparsities of a front of several sizes, as \"0.2 0.3 0.4\" or 0.2:0.5:0.1; --islands of each",
      {.decides = !options.targets.empty()});
  list.add("nested", options.nested, "with --targets: every model of the front holds the smaller ones",
           {.decides = options.nested});
}

std::vector<SelectionStage> stages_of(const SearchWords& words) {
  const auto survivors = parse_integers(words.survivors, "--survivors");
  const auto tokens = parse_integers(words.tokens, "--tokens");
  const auto training = parse_integers(words.training_tokens, "--training-tokens");
  if (survivors.size() != tokens.size() || survivors.empty()) {
    throw UsageError(fmt::format("{} stages of survivors, {} of tokens", survivors.size(), tokens.size()),
                     "--survivors, --tokens", "give one number per stage in both");
  }
  const bool trains = training != std::vector<std::int64_t>{0};  // a single 0 stands for all stages
  if (trains && training.size() != tokens.size()) {
    throw UsageError(
        fmt::format("{} stages of tokens, {} of training tokens", tokens.size(), training.size()),
        "--training-tokens", "give one number per stage, or 0");
  }
  std::vector<SelectionStage> stages;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (survivors[i] < 1 || (i > 0 && survivors[i] > survivors[i - 1])) {
      throw UsageError(fmt::format("{} survivors in stage {}", survivors[i], i + 1), "--survivors",
                       "give numbers from 1 that do not grow");
    }
    if (tokens[i] < 2) {
      throw UsageError(fmt::format("{} tokens in stage {}", tokens[i], i + 1), "--tokens", "give 2 or more");
    }
    const std::int64_t trained = trains ? training[i] : 0;
    if (trained < 0) {
      throw UsageError(fmt::format("{} training tokens in stage {}", trained, i + 1), "--training-tokens",
                       "give 0 or more");
    }
    stages.push_back({survivors[i], tokens[i], trained});
  }
  if (stages.back().survivors != 1) {
    throw UsageError(fmt::format("{} survivors of the last stage", stages.back().survivors), "--survivors",
                     "end with 1: the parent of the next generation");
  }
  return stages;
}

void check_front(const SearchOptions& options) {
  if (options.target.count() > 0)
    throw UsageError("a target beside --targets", "--targets", "give one of the two");
  const StrategyKind strategy = options.evolution.strategy;
  if (strategy != StrategyKind::racing && strategy != StrategyKind::sensitivity) {
    throw UsageError(fmt::format("several sizes with the strategy {}", name_of(strategy)), "--targets",
                     "use --strategy racing or sensitivity");
  }
}

}  // namespace

void bind(Options& list, SearchOptions& options) {
  list.describe("search", "looks for the level of every module that loses the least quality at a given size");
  EvolutionOptions& evolution = options.evolution;
  list.add("model", options.model, "folder of a Hugging Face model", {.required = true, .indirectly = true});
  list.add("database", options.database, "its pruning database", {.required = true, .indirectly = true});
  list.add("calibration", options.calibration, "text or token files on which candidates are compared",
           {.required = true, .indirectly = true});
  list.add("output", options.output, "folder of the run", {.required = true});
  bind(list, options.target);
  bind_targets(list, options);
  list.add_choice("time-whole", options.time_whole, "", {{"auto", true}, {"none", false}},
                  "time start and result whole where the table's device is this one, and correct its sums by "
                  "that: auto or none",
                  {.decides = options.target.by_latency(), .indirectly = true});
  bind_islands(list, options);
  bind_tuning(list, options);
  list.add_choice("fitness", options.fitness.kind, "fitness", fitness_choices(), "kl, sparse_kl, tv or ppl",
                  {.decides = true});
  list.add("kl-topk", options.fitness.top_k, "tokens of the vocabulary for sparse_kl",
           {.least = 1, .decides = true});
  list.add("topology", options.words.topology, "of migration: ring, complete, star, random, none or matrix",
           {.indirectly = true});
  list.add("migration-interval", options.words.migration_interval, "generations between migrations",
           {.indirectly = true});
  list.add("migrants", options.words.migrants, "candidates along each edge; for matrix, rows as \"0 1; 1 0\"",
           {.list = true, .indirectly = true});
  list.add_choice(
      "strategy", evolution.strategy, "strategy",
      named({StrategyKind::evolution, StrategyKind::random, StrategyKind::sensitivity, StrategyKind::racing}),
      "evolution, random (the baseline), sensitivity (no generations), or racing (challengers "
      "meet a parent on common tokens until it is sure who is better)",
      {.decides = true});
  list.add("start", options.start,
           "sensitivity (least sum of the database's end losses), uniform, gradient (levels learned from "
           "either by gradient descent), or a file with an assignment; auto: the first of the two that can "
           "be had",
           {.indirectly = true});
  bind_learning(list, options);
  bind_racing(list, options);
  list.add("calibration-tokens", options.calibration_tokens, "tokens to draw from; 0: all there are",
           {.least = 0, .indirectly = true});
  bind_sequences(list, options);
  list.add("compare-tokens", evolution.compare_tokens,
           "on which the islands' best are compared; 0: 8 times the last stage's",
           {.least = 0, .indirectly = true});
  list.add("eval-data", options.eval_data, "files for the perplexity of the best at each comparison",
           {.indirectly = true});
  list.add("choices", options.choices,
           "JSON lines of multiple-choice questions (context, choices, answer), by which the best at the end "
           "is chosen where they surely tell",
           {.indirectly = true});
  list.add("eval-every", evolution.eval_every,
           "generations between comparisons, in races between looks at what is held back; 0: only at the end",
           {.least = 0, .decides = true});
  list.add("seed", evolution.seed, "of all random numbers", {.decides = true});
  list.add_choice("level-cache", options.level_cache, "level cache",
                  {{"auto", std::nullopt},
                   {"device", LevelHome::device},
                   {"host", LevelHome::host},
                   {"file", LevelHome::file}},
                  "auto, device, host or file");
  bind_run(list, options, "an unfinished search");
  bind_computing(list, options);
}

std::int64_t asked_of_races(const SearchOptions& options) {
  if (options.choices.empty() || options.evolution.strategy != StrategyKind::racing) return 0;
  const auto sizes = std::max<std::int64_t>(1, std::ssize(options.targets));
  // At least one of every island.
  return std::max(static_cast<std::int64_t>(most_contestants) * sizes, options.evolution.islands);
}

void check_options(const SearchOptions& options) {
  check_ranges(options);
  const EvolutionOptions& evolution = options.evolution;
  if (evolution.strategy != StrategyKind::sensitivity && evolution.generations < 1)
    throw UsageError(fmt::format("{}", evolution.generations), "--generations", "give 1 or more");
}

void resolve(SearchOptions& options) {
  check_options(options);
  EvolutionOptions& evolution = options.evolution;
  evolution.stages = stages_of(options.words);
  if (evolution.strategy == StrategyKind::racing) {
    if (trains(evolution)) {
      throw UsageError("racing measures candidates as they are", "--training-tokens",
                       "leave it out, or use the strategy evolution");
    }
    evolution.stages = {{1, evolution.racing.tokens, 0}};  // a heat, as far as others ask
  } else if (!options.archive.empty()) {
    throw UsageError("only races go on with what another one measured", "--archive",
                     "leave it out, or use --strategy racing");
  }
  if (evolution.strategy == StrategyKind::sensitivity) evolution.generations = 0;
  if (options.target.by_latency() && !options.choices.empty())
    throw UsageError("timing whole models may take another one than the questions chose",
                     "--choices, --latency-table", "give one of the two");
  if (options.nested && !options.choices.empty())
    throw UsageError("questions are not asked of models that are made nested after them",
                     "--nested, --choices", "give one of the two");
  if (options.nested && options.targets.size() < 2)
    throw UsageError("one model holds no other", "--nested", "give several --targets, or leave it out");
  if (!options.targets.empty()) {
    check_front(options);
    options.target.sparsity = options.targets.front();
    evolution.islands *= std::ssize(options.targets);
  }
  evolution.topology = make_topology(options.words.topology, options.words.migrants,
                                     options.words.migration_interval, evolution.islands, evolution.seed);
}

void check_mixture(const SearchOptions& options, const HfConfig& config) {
  if (options.start == name_of(StartKind::gradient))
    refuse_mixture(config, "learning levels", "--start gradient", "give another start");
  if (options.target.by_latency())
    refuse_mixture(config, "a target of latency", "--target-latency, --target-speedup",
                   "give --target-params or --target-sparsity");
  if (trains(options.evolution) && options.tuning.unmasked)
    refuse_mixture(config, "fine-tuning what is pruned", "--reference-finetuning", "leave it out");
}

}  // namespace galapagos
