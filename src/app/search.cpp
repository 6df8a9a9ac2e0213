#include "command.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/search.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_search() {
  Options options("search",
                  "looks for the level of every module that loses the least quality at a given size");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "database", po::value<std::string>(), "its pruning database")(
      "calibration", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text or token files on which candidates are compared")("output", po::value<std::string>(),
                                                              "folder of the run");
  declare_target(options);
  options.declared().add_options()("islands", po::value<std::int64_t>()->default_value(1), "subpopulations")(
      "shards", po::value<std::int64_t>()->default_value(1), "ranks that hold one replica of the model")(
      "generations", po::value<std::int64_t>()->default_value(200),
      "of every island; none with --strategy sensitivity")(
      "offspring", po::value<std::int64_t>()->default_value(16), "per generation")(
      "proposals", po::value<std::int64_t>()->default_value(0),
      "of the offspring, made from what was predicted and measured so far; needs end losses")(
      "survivors", po::value<std::string>()->default_value("8 4 2 1"), "of each stage of the selection")(
      "tokens", po::value<std::string>()->default_value("1024 2048 4096 8192"), "compared on in each stage")(
      "training-tokens", po::value<std::string>()->default_value("0"),
      "fine-tuned on in each stage before the comparison; 0: nothing")(
      "training-data", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "files for that; the calibration files where not given")(
      "learning-rate", po::value<double>()->default_value(FineTuneOptions().learning_rate),
      "of the fine-tuning")("recompute", po::bool_switch(),
                            "fine-tune with less memory: keep only what goes into each layer")(
      "reference-finetuning", po::bool_switch(),
      "fine-tune as DarwinLM's code does, where pruned weights are trained too (for comparison only)")(
      "fitness", po::value<std::string>()->default_value("kl"), "kl, sparse_kl or ppl")(
      "kl-topk", po::value<std::int64_t>()->default_value(512), "tokens of the vocabulary for sparse_kl")(
      "topology", po::value<std::string>()->default_value("ring"),
      "of migration: ring, complete, star, random, none or matrix")(
      "migration-interval", po::value<std::int64_t>()->default_value(10), "generations between migrations")(
      "migrants", po::value<std::string>()->default_value("1"),
      "candidates along each edge; for matrix, rows as \"0 1; 1 0\"")(
      "strategy", po::value<std::string>()->default_value("evolution"),
      "evolution, random (the baseline), or sensitivity (no generations)")(
      "start", po::value<std::string>()->default_value("auto"),
      "sensitivity (least sum of the database's end losses), uniform, or a file with an assignment; auto: "
      "the "
      "first that can be had")("calibration-tokens", po::value<std::int64_t>()->default_value(0),
                               "tokens to draw from; 0: all there are")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "compare-tokens", po::value<std::int64_t>()->default_value(0),
      "on which the islands' best are compared; 0: 8 times the last stage's")(
      "eval-data", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "files for the perplexity of the best at each comparison")(
      "eval-every", po::value<std::int64_t>()->default_value(0),
      "generations between comparisons; 0: only at the end")(
      "seed", po::value<std::int64_t>()->default_value(0), "of all random numbers")(
      "level-cache", po::value<std::string>()->default_value("auto"), "auto, device, host or file")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")(
      "resume", po::bool_switch(), "go on from the run's checkpoint")("dry-run", po::bool_switch(),
                                                                      "print the plan and leave");
  declare_common(options, true);
  return options;
}

namespace {

std::vector<SelectionStage> read_stages(const Options& options) {
  const auto survivors = parse_integers(options.get<std::string>("survivors"), "--survivors");
  const auto tokens = parse_integers(options.get<std::string>("tokens"), "--tokens");
  const auto training = parse_integers(options.get<std::string>("training-tokens"), "--training-tokens");
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

std::optional<LevelHome> level_home_of(const std::string& name) {
  if (name == "auto") return std::nullopt;
  for (const LevelHome home : {LevelHome::device, LevelHome::host, LevelHome::file}) {
    if (name == name_of(home)) return home;
  }
  throw UsageError("unknown level cache '" + printable(name) + "'", "--level-cache",
                   "choose auto, device, host or file");
}

StrategyKind strategy_of(const std::string& name) {
  for (const StrategyKind strategy :
       {StrategyKind::evolution, StrategyKind::random, StrategyKind::sensitivity}) {
    if (name == name_of(strategy)) return strategy;
  }
  throw UsageError("unknown strategy '" + printable(name) + "'", "--strategy",
                   "choose evolution, random or sensitivity");
}

}  // namespace

SearchOptions read_search(const Options& options, int ranks) {
  SearchOptions request;
  request.model = options.find<std::string>("model").value_or("");
  request.database = options.find<std::string>("database").value_or("");
  request.output = options.find<std::string>("output").value_or("");
  if (const auto files = options.find<std::vector<std::string>>("calibration"))
    request.calibration = paths_of(*files);
  if (const auto files = options.find<std::vector<std::string>>("eval-data"))
    request.eval_data = paths_of(*files);
  request.calibration_tokens = options.get<std::int64_t>("calibration-tokens");
  request.sequence_length = options.get<std::int64_t>("sequence-length");
  request.add_bos = options.flag("add-bos");
  request.target = target_of(options);
  request.start = options.get<std::string>("start");
  request.fitness = {fitness_kind_of(options.get<std::string>("fitness")),
                     options.get<std::int64_t>("kl-topk")};
  if (const auto files = options.find<std::vector<std::string>>("training-data"))
    request.training_data = paths_of(*files);
  request.tuning.options.learning_rate = options.get<double>("learning-rate");
  request.tuning.options.recompute = options.flag("recompute");
  request.tuning.unmasked = options.flag("reference-finetuning");
  request.level_cache = level_home_of(options.get<std::string>("level-cache"));
  request.precision = precision_of(options);
  request.batch_tokens = options.get<std::int64_t>("batch-tokens");
  request.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  request.max_seconds = parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  request.resume = options.flag("resume");
  request.dry_run = options.flag("dry-run");
  request.config_ini = options.resolved();

  EvolutionOptions& evolution = request.evolution;
  evolution.islands = options.get<std::int64_t>("islands");
  evolution.generations = options.get<std::int64_t>("generations");
  evolution.offspring = options.get<std::int64_t>("offspring");
  evolution.proposals = options.get<std::int64_t>("proposals");
  evolution.stages = read_stages(options);
  evolution.strategy = strategy_of(options.get<std::string>("strategy"));
  if (evolution.strategy == StrategyKind::sensitivity) evolution.generations = 0;
  evolution.compare_tokens = options.get<std::int64_t>("compare-tokens");
  evolution.eval_every = options.get<std::int64_t>("eval-every");
  evolution.seed = static_cast<std::uint64_t>(options.get<std::int64_t>("seed"));
  evolution.topology =
      make_topology(options.get<std::string>("topology"), options.get<std::string>("migrants"),
                    options.get<std::int64_t>("migration-interval"), evolution.islands, evolution.seed);

  request.shards = shards_of(options, ranks);
  return request;
}

void search(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_search();
  if (!begin(world, options, words)) return;
  SearchOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "database", "calibration", "output"}) options.require(name);
    return read_search(options, world.size());
  });
  const ops::Context context = make_context(world, options);
  request.make_collectives = collectives_for(context, options);
  run_search(world, context, request);
}

}  // namespace galapagos::app
