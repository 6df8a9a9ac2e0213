#include "plan.hpp"

#include "command.hpp"
#include "plan_parts.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <sstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/search/forecast.hpp>

namespace galapagos::app {
namespace {

// What a command uses where it is to use everything there is, which nobody can know here.
constexpr std::int64_t assumed_calibration = 1 << 22;
constexpr std::int64_t assumed_pool = 100000;
constexpr std::int64_t assumed_data = 1 << 18;
constexpr std::int64_t assumed_training = 1 << 30;
constexpr double assumed_sparsity = 0.5;

constexpr std::array phase_names = {"sensitivity", "database", "search", "stitch", "distil", "train", "eval"};

struct PlanRequest : ComputingOptions {
  std::optional<std::string> command;
  std::int64_t ranks = 0;
  Machine machine;
  double peak = 0, bandwidth = 0, network = 0, disk = 0;  ///< as they are given
  bool strict = false, json = false;
};

void bind_machine(Options& list, PlanRequest& request) {
  const auto rate = [&](const char* name, double& member, const char* help) {
    list.add(name, member, help, {.least = 0, .refusal = "a negative rate", .remedy = "give 0 or more"});
  };
  list.add("ranks", request.ranks, "MPI ranks",
           {.least = 1,
            .most = 1e7,
            .refusal = "{}",
            .remedy = "give 1 or more",
            .none_at_0 = true,
            .required = true});
  list.add("nodes", request.machine.nodes, "that they are on, evenly",
           {.least = 1, .most = 1e7, .refusal = "{}", .remedy = "give 1 or more"});
  list.add_bytes("memory-per-node", request.machine.node_memory, "bytes, as 256G; 0: any number");
  list.add_bytes("gpu-memory", request.machine.gpu_memory,
                 "bytes of a GPU, one for each rank, as 80G; 0: ranks compute on CPUs");
  rate("peak-tflops", request.peak, "of a rank; 0: no times");
  rate("memory-bandwidth", request.bandwidth, "GB/s of a rank; 0: not counted");
  rate("network", request.network, "GB/s of a node; 0: not counted");
  rate("disk", request.disk, "GB/s of the file system; 0: not counted");
  list.add("efficiency", request.machine.efficiency, "share of these rates that is reached",
           {.least = 0,
            .most = 1,
            .above = true,
            .refusal = "an efficiency of {}",
            .remedy = "give a share above 0 and up to 1"});
}

void bind(Options& list, PlanRequest& request) {
  list.describe("plan",
                "memory, file sizes, work and time of a command on a machine, from config.json alone; takes "
                "every option of the command too (and of the commands before it), and its INI file",
                "command");
  list.add("command", request.command,
           "sensitivity, database, search, stitch, distil, train or eval (the word "
           "after 'plan'); without: all but distil. Or collectives: "
           "see 'galapagos plan collectives --help'");
  list.add("model", request.model, "folder of a Hugging Face model, or its config.json", {.required = true});
  bind_machine(list, request);
  list.add("strict", request.strict, "fail (exit code 4) where memory is too small");
  list.add("json", request.json, "print JSON");
  bind_computing(list, request);
}

/// The options of all commands, each of which has got its part of the words.
struct Commands {
  Asked<PlanRequest> plan;
  Asked<SensitivityOptions> sensitivity;
  Asked<DatabaseOptions> database;
  Asked<SearchOptions> search;
  Asked<StitchRequest> stitch;
  Asked<DistilOptions> distil;
  Asked<TrainOptions> train;
  Asked<EvalRequest> eval;
  std::vector<std::string> planned;

  Options& of(const std::string& name) {
    const std::map<std::string, Options*> phases = {{"sensitivity", &sensitivity.options},
                                                    {"database", &database.options},
                                                    {"search", &search.options},
                                                    {"stitch", &stitch.options},
                                                    {"distil", &distil.options},
                                                    {"train", &train.options},
                                                    {"eval", &eval.options}};
    return *phases.at(name);
  }
};

/// Words in groups: an option with its values, or what stands before all options.
std::vector<std::vector<std::string>> grouped(const std::vector<std::string>& words) {
  std::vector<std::vector<std::string>> groups;
  for (const std::string& word : words) {
    if (groups.empty() || word.starts_with("--")) groups.emplace_back();
    groups.back().push_back(word);
  }
  return groups;
}

std::string option_of(const std::vector<std::string>& group) {
  if (!group[0].starts_with("--")) return {};
  return group[0].substr(2, group[0].find('=') - 2);
}

/// The words of each command. An option of `plan` goes to all that have it; any other to the commands that
/// are planned, or where none of them has it to those that they build on.
std::map<std::string, std::vector<std::string>> dealt_words(Commands& commands,
                                                            const std::vector<std::string>& words) {
  std::map<std::string, std::vector<std::string>> dealt;
  const auto give = [&](const std::string& name, const std::vector<std::string>& group) {
    dealt[name].insert(dealt[name].end(), group.begin(), group.end());
  };
  for (const std::vector<std::string>& group : grouped(words)) {
    const std::string option = option_of(group);
    const bool own = option.empty() || commands.plan.options.declares(option);
    if (own) give("plan", group);
    if (option.empty() || option == "command") continue;
    bool taken = false;
    for (const std::string& name : commands.planned) {
      if (!commands.of(name).declares(option)) continue;
      give(name, group);
      taken = true;
    }
    for (const std::string name : phase_names) {
      const bool planned =
          std::find(commands.planned.begin(), commands.planned.end(), name) != commands.planned.end();
      if (planned || (taken && !own) || !commands.of(name).declares(option)) continue;
      give(name, group);
      taken = true;
    }
    if (!own && !taken) {
      throw UsageError("unrecognised option '--" + printable(option) + "'", "galapagos plan",
                       "see 'galapagos plan --help' and the help of the command");
    }
  }
  return dealt;
}

/// Which command stands among the words, before they can be parsed.
std::vector<std::string> planned_commands(const std::vector<std::string>& words) {
  if (!words.empty() && !words[0].starts_with("--")) {
    if (std::find(phase_names.begin(), phase_names.end(), words[0]) != phase_names.end()) return {words[0]};
    throw UsageError(
        "there is no plan of '" + printable(words[0]) + "'", "galapagos plan",
        "choose sensitivity, database, search, stitch, distil, train or eval, none for all of them, or "
        "collectives");
  }
  return {phase_names.begin(), phase_names.end()};
}

Machine read_machine(const PlanRequest& request) {
  Machine machine = request.machine;
  machine.ranks = static_cast<int>(request.ranks);
  if (machine.nodes > machine.ranks) {
    throw UsageError(fmt::format("{} ranks on {} nodes", machine.ranks, machine.nodes), "--nodes",
                     "give at most one node per rank");
  }
  if (machine.gpu_memory > 0 && request.backend == "cpu") {
    throw UsageError("GPUs' memory for a run on CPUs", "--gpu-memory", "leave it out, or --backend cpu");
  }
  machine.peak = request.peak * 1e12;
  machine.bandwidth = request.bandwidth * 1e9;
  machine.network = request.network * 1e9;
  machine.disk = request.disk * 1e9;
  return machine;
}

ModelSizes read_model(const std::filesystem::path& path, std::optional<DType> precision, Device device,
                      std::vector<std::string>& assumed) {
  ModelSizes model;
  model.config = read_shape(path);
  const std::string& type = model.config.torch_dtype;
  model.stored = type == "float32" ? DType::f32 : type == "float16" ? DType::f16 : DType::bf16;
  if (type.empty()) assumed.push_back("weights in bf16, as config.json names no type");
  model.precision = ops::working_type(device, precision.value_or(model.stored));
  return model;
}

std::vector<std::int32_t> orders_of(const DatabaseReader& database) {
  std::vector<std::int32_t> orders;
  for (const ModuleId& module : database.header().modules()) {
    const std::vector<std::int32_t> order = database.order(module);
    orders.insert(orders.end(), order.begin(), order.end());
  }
  return orders;
}

/// A name and what is said of it, in lines that fit a screen.
std::string row(const std::string& name, const std::string& value) {
  constexpr std::size_t indent = 20, width = 100;
  std::string text = fmt::format("{:<{}}", name, indent);
  std::size_t at = indent;
  std::istringstream words(value);
  for (std::string word; words >> word; at += word.size() + 1) {
    if (at > indent && at + word.size() > width) {
      text += fmt::format("\n{:<{}}", "", indent);
      at = indent;
    }
    text += (at > indent ? " " : "") + word;
  }
  return text + "\n";
}

/// All that is known, and what had to be assumed.
class Planner {
 public:
  explicit Planner(Commands& commands)
      : commands_(commands),
        machine_(read_machine(commands.plan.request)),
        model_(read_model(commands.plan.request.model, commands.plan.request.precision, machine_.device(),
                          assumed_)) {}

  void plan() {
    const bool all = commands_.planned.size() > 1;
    for (const std::string& name : commands_.planned) {
      // The pruned model is trained on only where that is asked for.
      if (all && name == "train" && !commands_.train.options.has("tokens")) continue;
      if (all && name == "distil") continue;
      phases_.push_back(phase(name));
    }
  }
  Json json() const;
  std::string text() const;
  std::optional<std::string> first_warning() const;

 private:
  PlannedPhase phase(const std::string& name);
  PlannedPhase of_sensitivity();
  PlannedPhase of_eval();
  PlannedPhase of_distil();
  PlannedPhase of_train();
  std::optional<ModelSizes> reference_of(const std::optional<std::filesystem::path>& folder);
  std::int64_t tokens_or(std::int64_t asked, std::int64_t otherwise, const char* of_what);
  DatabaseOptions database_options();
  SearchOptions search_options();
  StitchOptions of_refit();
  void make_space();

  Commands& commands_;
  std::vector<std::string> assumed_;
  Machine machine_;
  ModelSizes model_;
  std::optional<DatabaseHeader> header_;
  SearchSpace space_;
  std::vector<PlannedPhase> phases_;
};

std::int64_t Planner::tokens_or(std::int64_t asked, std::int64_t otherwise, const char* of_what) {
  if (asked > 0) return asked;
  assumed_.push_back(fmt::format("{} {}", human_count(static_cast<std::uint64_t>(otherwise)), of_what));
  return otherwise;
}

DatabaseOptions Planner::database_options() {
  DatabaseOptions options = commands_.database.read(machine_.ranks);
  check_options(options);
  options.calibration_tokens =
      tokens_or(options.calibration_tokens, assumed_calibration, "calibration tokens of the database");
  return options;
}

SearchOptions Planner::search_options() {
  SearchOptions options = commands_.search.read(machine_.ranks);
  resolve(options);
  if (options.target.count() == 0) {
    options.target.sparsity = assumed_sparsity;
    const std::string said = fmt::format("a target sparsity of {}", assumed_sparsity);
    if (std::find(assumed_.begin(), assumed_.end(), said) == assumed_.end()) assumed_.push_back(said);
  }
  options.sequence_length = checked_sequence_length(options.sequence_length, model_.config);
  return options;
}

StitchOptions Planner::of_refit() {
  commands_.stitch.read(machine_.ranks);
  StitchOptions options = stitch_options(commands_.stitch);
  if (!options.refit) return options;
  options.refit->calibration_tokens =
      tokens_or(options.refit->calibration_tokens, assumed_calibration, "calibration tokens of the refit");
  options.refit->sequence_length = checked_sequence_length(options.refit->sequence_length, model_.config);
  return options;
}

/// The levels of the database that is there, else of the one that the options would give.
void Planner::make_space() {
  if (header_) return;
  if (const auto& path = commands_.search.read(machine_.ranks).database; !path.empty()) {
    const DatabaseReader database(path);
    header_ = database.header();
    if (header_->config.source != model_.config.source) {
      throw InputError("the database was made from another model", path.string(),
                       "give the model it was made from");
    }
    space_ = galapagos::make_space(*header_, orders_of(database));
    return;
  }
  header_ = make_header(commands_.database.read(machine_.ranks), model_.config, model_.stored);
  if (commands_.database.request.sensitivity && commands_.sensitivity.read(machine_.ranks).divergence) {
    header_->end_loss_from = "kl";
  }
  space_ = expected_space(*header_);
}

PlannedPhase Planner::of_sensitivity() {
  SensitivityOptions options = commands_.sensitivity.read(machine_.ranks);
  check_options(options);
  options.calibration_tokens =
      tokens_or(options.calibration_tokens, assumed_calibration, "tokens of the sensitivity");
  return plan_sensitivity(machine_, model_, options,
                          checked_sequence_length(options.sequence_length, model_.config));
}

PlannedPhase Planner::of_eval() {
  const EvalRequest& request = commands_.eval.read(machine_.ranks);
  commands_.eval.options.check();
  const auto tokens = tokens_or(request.tokens, assumed_data, "tokens to evaluate");
  const auto length = checked_sequence_length(request.sequence_length, model_.config);
  return plan_eval(machine_, model_, reference_of(request.reference),
                   {request.batch_tokens, request.memory_limit}, length, tokens, request.shards);
}

std::optional<ModelSizes> Planner::reference_of(const std::optional<std::filesystem::path>& folder) {
  if (!folder) return std::nullopt;
  return read_model(*folder, commands_.plan.request.precision, machine_.device(), assumed_);
}

/// Of the model itself, or among all commands of what `stitch` writes.
PlannedPhase Planner::of_train() {
  TrainOptions options = commands_.train.read(machine_.ranks);
  options.tokens = tokens_or(options.tokens, assumed_training, "tokens to train on");
  check_options(options);
  ModelSizes model = model_;
  if (commands_.planned.size() > 1) {
    make_space();
    model.config.layer_shapes =
        space_.shapes(model.config, make_budget(space_, search_options().target).uniform());
  }
  const std::int64_t length = checked_sequence_length(options.sequence_length, model.config);
  return plan_train(machine_, model, reference_of(options.reference), options, length, options.shards);
}

PlannedPhase Planner::of_distil() {
  const DistilOptions& options = commands_.distil.read(machine_.ranks);
  check_ranges(options);
  if (options.reference.empty()) {
    throw UsageError("no model to learn from", "--reference",
                     "give the unpruned model's folder or config.json, which may be --model itself");
  }
  const std::optional<ModelSizes> reference = reference_of(options.reference);
  const std::int64_t tokens = tokens_or(options.tokens, assumed_calibration, "tokens to distil on");
  const std::int64_t length = checked_sequence_length(options.sequence_length, model_.config);
  return plan_distil(machine_, model_, *reference, options, length, tokens);
}

PlannedPhase Planner::phase(const std::string& name) {
  if (name == "sensitivity") return of_sensitivity();
  if (name == "eval") return of_eval();
  if (name == "distil") return of_distil();
  if (name == "train") return of_train();
  if (name == "database") {
    const DatabaseOptions options = database_options();
    DatabaseHeader header = make_header(options, model_.config, model_.stored);
    header.precision = model_.precision;
    return plan_database(machine_, options, header);
  }
  make_space();
  SearchOptions options = search_options();
  if (name == "stitch") return plan_stitch(machine_, model_, of_refit(), *header_, space_, options);
  options.calibration_tokens =
      tokens_or(options.calibration_tokens, assumed_pool, "calibration tokens of the search");
  return plan_search(machine_, model_, options, space_, header_->dtype);
}

std::optional<std::string> Planner::first_warning() const {
  for (const PlannedPhase& phase : phases_) {
    if (!phase.warnings.empty()) return phase.name + ": " + phase.warnings.front();
  }
  return std::nullopt;
}

Json Planner::json() const {
  Json json;
  json["kind"] = "plan";
  json["model"] = {{"model_type", model_.config.model_type},
                   {"layers", model_.config.layers},
                   {"parameters", parameters_in_layers(model_.config) + embedding_parameters(model_.config) +
                                      head_parameters(model_.config)},
                   {"dtype", name_of(model_.stored)},
                   {"precision", name_of(model_.precision)}};
  json["machine"] = {{"ranks", machine_.ranks},
                     {"nodes", machine_.nodes},
                     {"memory_per_node", machine_.node_memory},
                     {"gpu_memory", machine_.gpu_memory},
                     {"efficiency", machine_.efficiency}};
  json["assumed"] = assumed_;
  json["warnings"] = Json::array();
  for (const PlannedPhase& phase : phases_) {
    json[phase.name] = phase.json;
    for (const std::string& warning : phase.warnings) json["warnings"].push_back(phase.name + ": " + warning);
  }
  return json;
}

std::string Planner::text() const {
  const HfConfig& config = model_.config;
  const std::int64_t parameters =
      parameters_in_layers(config) + embedding_parameters(config) + head_parameters(config);
  const auto whole = static_cast<std::uint64_t>(parameters);
  std::string text = row("model", fmt::format("{}, {} layers of {}, {} parameters, {} in {}; computed in {}",
                                              config.model_type, config.layers, config.hidden_size,
                                              human_count(whole), human_bytes(whole * size_of(model_.stored)),
                                              name_of(model_.stored), name_of(model_.precision)));
  text +=
      row("machine",
          fmt::format(
              "{} ranks, {} a node{}{}", machine_.ranks, machine_.ranks_per_node(),
              machine_.node_memory == 0 ? "" : " of " + human_bytes(machine_.node_memory),
              machine_.gpu_memory == 0 ? "" : ", a GPU of " + human_bytes(machine_.gpu_memory) + " each"));
  if (machine_.peak > 0) {
    text +=
        row("rates", fmt::format("of a rank {:g} Tflop/s and {:g} GB/s of memory, of a node {:g} GB/s, disk "
                                 "{:g} GB/s (0: not counted); {:.0f} % of them is reached",
                                 machine_.peak / 1e12, machine_.bandwidth / 1e9, machine_.network / 1e9,
                                 machine_.disk / 1e9, 100 * machine_.efficiency));
  }
  for (const PlannedPhase& phase : phases_) {
    text += "\n" + phase.name + "\n";
    for (const auto& [name, value] : phase.rows) text += row("  " + name, value);
    for (const std::string& warning : phase.warnings) text += row("  TOO SMALL", warning);
  }
  text += "\n";
  if (!assumed_.empty()) text += row("assumed", fmt::format("{}", fmt::join(assumed_, "; ")));
  text +=
      row("note", fmt::format("memory is that of the worst rank, without the program itself (about 0.1 GiB) "
                              "and the page cache; ~ is an estimate{}",
                              machine_.peak > 0 ? "" : "; --peak-tflops and other rates give times"));
  return text;
}

}  // namespace

void plan(const Communicator& world, const std::vector<std::string>& words) {
  if (!words.empty() && words[0] == "collectives") {
    return plan_collectives(world, {words.begin() + 1, words.end()});
  }
  Commands commands;
  std::map<std::string, std::vector<std::string>> dealt;
  agree(world, [&] {
    commands.planned = planned_commands(words);
    dealt = dealt_words(commands, words);
  });
  if (!begin(world, commands.plan, dealt["plan"])) return;
  agree_at_root(world, [&] {
    if (commands.plan.request.command && commands.planned.size() > 1) {
      throw UsageError("a command after the options", "galapagos plan", "name it right after 'plan'");
    }
    for (const char* name : phase_names) commands.of(name).parse(dealt[name]);
    Planner planner(commands);
    planner.plan();
    print(world, commands.plan.request.json ? planner.json().dump(2) + "\n" : planner.text());
    if (const auto warning = planner.first_warning(); warning && commands.plan.request.strict) {
      throw ResourceError("the plan does not fit", *warning, "see the plan");
    }
  });
}

}  // namespace galapagos::app
