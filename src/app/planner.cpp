#include "planner.hpp"

#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/io/model_shape.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/search/forecast.hpp>

namespace galapagos::app {
namespace {

// What a command uses where it is to use everything there is, which nobody can know here.
constexpr std::int64_t assumed_calibration = 1 << 22;
constexpr std::int64_t assumed_pool = 100000;
constexpr std::int64_t assumed_data = 1 << 18;
constexpr std::int64_t assumed_training = 1 << 30;
constexpr std::int64_t assumed_prompt = 1024, assumed_texts = 1000;
constexpr double assumed_sparsity = 0.5;

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

}  // namespace

Planner::Planner(Commands& commands)
    : commands_(commands),
      machine_(read_machine(commands.plan.request)),
      model_(read_model(commands.plan.request.model, commands.plan.request.precision, machine_.device(),
                        assumed_)) {}

void Planner::plan() {
  const bool all = commands_.planned.size() > 1;
  for (const std::string& name : commands_.planned) {
    // The pruned model is trained on only where that is asked for.
    if (all && name == "train" && !commands_.train.options.has("tokens")) continue;
    if (all && (name == "distil" || name == "generate")) continue;
    phases_.push_back(phase(name));
  }
}

void Planner::assume(const std::string& what) {
  if (std::ranges::find(assumed_, what) == assumed_.end()) assumed_.push_back(what);
}

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
    assume(fmt::format("a target sparsity of {}", assumed_sparsity));
  }
  check_mixture(options, model_.config);
  options.sequence_length = checked_sequence_length(options.sequence_length, model_.config);
  return options;
}

StitchOptions Planner::of_refit() {
  commands_.stitch.read(machine_.ranks);
  StitchOptions options = stitch_options(commands_.stitch);
  if (!options.refit) return options;
  check_reaches_stream(model_.config, "--refit", "leave it out");
  options.refit->calibration_tokens =
      tokens_or(options.refit->calibration_tokens, assumed_calibration, "calibration tokens of the refit");
  options.refit->sequence_length = checked_sequence_length(options.refit->sequence_length, model_.config);
  return options;
}

/// The file that the search is given, or the stitch, if that is all or the search has none, and it is there.
std::filesystem::path Planner::database_path() {
  const std::filesystem::path& of_search = commands_.search.read(machine_.ranks).database;
  const auto& planned = commands_.planned;
  const bool stitched = std::ranges::find(planned, "stitch") != planned.end();
  const auto& path = commands_.stitch.read(machine_.ranks).database;
  if (!stitched || !path || (planned.size() > 1 && !of_search.empty())) return of_search;
  if (std::filesystem::exists(*path)) return *path;
  assume(fmt::format("a database as its options make it, as {} is not there", printable(path->string())));
  return {};
}

/// That of the stitch, where it and its database are there.
std::optional<std::filesystem::path> Planner::given_assignment() {
  const StitchRequest& request = commands_.stitch.read(machine_.ranks);
  if (!request.assignment) return std::nullopt;
  const bool of_database = !database_path().empty();
  if (!of_database && !request.database)
    throw UsageError("an assignment, and no database whose levels it gives", "--assignment",
                     "give --database besides, or leave it out");
  if (of_database && std::filesystem::exists(*request.assignment)) return request.assignment;
  assume(fmt::format("the uniform assignment, as {} is not there",
                     printable((of_database ? *request.assignment : *request.database).string())));
  return std::nullopt;
}

/// What `stitch` is given, else the uniform one within the budget.
Assignment Planner::assignment() {
  if (const auto path = given_assignment()) return read_assignment(space_, *path);
  return make_budget(space_, search_options().target).uniform();
}

/// The levels of the database that is there, else of the one that the options would give.
void Planner::make_space() {
  if (header_) return;
  if (const std::filesystem::path path = database_path(); !path.empty()) {
    const DatabaseReader database(path);
    header_ = database.header();
    if (header_->config.source != model_.config.source) {
      throw InputError("the database was made from another model", path.string(),
                       "give the model it was made from");
    }
    space_ = galapagos::make_space(*header_, orders_of(database));
    restrict_to(commands_.search.read(machine_.ranks).target, space_);
    return;
  }
  header_ = make_header(commands_.database.read(machine_.ranks), model_.config, model_.stored);
  if (commands_.database.request.sensitivity && commands_.sensitivity.read(machine_.ranks).divergence) {
    header_->end_loss_from = "kl";
  }
  space_ = expected_space(*header_);
  restrict_to(commands_.search.read(machine_.ranks).target, space_);
}

PlannedPhase Planner::of_sensitivity() {
  SensitivityOptions options = commands_.sensitivity.read(machine_.ranks);
  check_options(options);
  if (options.divergence) check_reaches_stream(model_.config, "--from kl", "leave it out");
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

PlannedPhase Planner::of_generate() {
  const GenerateRequest& request = commands_.generate.read(machine_.ranks);
  commands_.generate.options.check();
  const std::int64_t prompt =
      request.samples > 0 ? 1
                          : tokens_or(0, std::min(assumed_prompt, model_.config.longest_sequence() - 1),
                                      "tokens of a prompt");
  const std::int64_t texts = tokens_or(request.samples, assumed_texts, "prompts");
  GenerationOptions how = request.how;
  how.batch_tokens = request.batch_tokens;
  how.longest = model_.config.longest_sequence();
  return plan_generate(machine_, model_, how, prompt, texts, request.memory_limit, request.shards);
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
    model.config.layer_shapes = space_.shapes(model.config, assignment());
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
  refuse_mixture(model_.config, "distillation layer by layer", "distil", "plan train --reference instead");
  return plan_distil(machine_, model_, *reference, options, length, tokens);
}

/// A pruned model without anything to prune it by is written as it is.
PlannedPhase Planner::of_stitch() {
  const StitchOptions options = of_refit();
  for (const ExportFormat* format : options.formats) check_mixture(model_.config, *format);
  const StitchRequest& request = commands_.stitch.request;
  SearchOptions search = commands_.search.read(machine_.ranks);
  resolve(search);
  if (commands_.planned.size() == 1 && model_.config.pruned() && !options.refit && !request.database &&
      !request.assignment && search.database.empty() && search.target.count() == 0) {
    return plan_stitch(machine_, model_, options, {"the model as it is"});
  }
  make_space();
  const auto given = given_assignment();
  return plan_stitch(machine_, model_, options,
                     {given ? "the assignment of " + printable(given->string()) : "a uniform assignment",
                      &*header_, &space_.every_module(), space_.of_every_module(assignment())});
}

PlannedPhase Planner::phase(const std::string& name) {
  if (name == "sensitivity") return of_sensitivity();
  if (name == "eval") return of_eval();
  if (name == "generate") return of_generate();
  if (name == "distil") return of_distil();
  if (name == "train") return of_train();
  if (name == "stitch") return of_stitch();
  if (name == "database") {
    const DatabaseOptions options = database_options();
    DatabaseHeader header = make_header(options, model_.config, model_.stored);
    header.precision = model_.precision;
    return plan_database(machine_, options, header);
  }
  make_space();
  SearchOptions options = search_options();
  options.calibration_tokens =
      tokens_or(options.calibration_tokens, assumed_pool, "calibration tokens of the search");
  return plan_search(machine_, model_, options, space_, header_->dtype);
}

}  // namespace galapagos::app
