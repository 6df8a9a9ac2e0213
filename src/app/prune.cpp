#include "steps.hpp"

#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_files.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos::app {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t most_stages = 1000;

struct PruneRequest : StepsRequest {
  std::int64_t stages = 4;
  bool keep_files = false;
};

void bind(Options& list, PruneRequest& request) {
  list.describe("prune",
                "a model pruned in stages, each with sensitivity, database, assignment and distillation of "
                "what the stage before has left; the sections [sensitivity], [database] and [distil] of "
                "--config FILE are for the steps");
  bind_steps(list, request, "text on which the model of each stage is measured",
             "folder, in which model is the result", false);
  list.add("target-params", request.target.parameters, "the size: at most so many parameters in all",
           {.decides = true});
  bind_sparsity(list, request.target);
  list.add("stages", request.stages, "each takes away as many parameters, and leaves a model of its size",
           {.least = 1,
            .most = most_stages,
            .refusal = "{} stages",
            .remedy = fmt::format("give 1 to {}", most_stages),
            .decides = true});
  list.add("keep-files", request.keep_files,
           "keep the database and the undistilled model of a stage that is done");
  bind_computing(list, request);
}

/// Parameters in all of what the stages leave.
std::vector<std::int64_t> sizes_of_stages(const HfConfig& config, const PruneRequest& request) {
  const std::int64_t fixed = fixed_parameters(config);
  std::int64_t prunable = 0;
  for (const ModuleId& module : modules_of(config)) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(module_columns(config, module)));
    std::iota(all.begin(), all.end(), 0);
    prunable += parameters_of_module(config, module, all);
  }
  const SizeTarget& target = request.target;
  if (target.parameters && (*target.parameters < fixed || *target.parameters >= fixed + prunable)) {
    throw UsageError(
        fmt::format("a target of {}",
                    human_count(static_cast<std::uint64_t>(std::max<std::int64_t>(*target.parameters, 0)))),
        "--target-params",
        fmt::format("the model has {}, of which {} can be pruned",
                    human_count(static_cast<std::uint64_t>(fixed + prunable)),
                    human_count(static_cast<std::uint64_t>(prunable))));
  }
  const double goes = target.parameters ? static_cast<double>(fixed + prunable - *target.parameters)
                                        : *target.sparsity * static_cast<double>(prunable);
  const std::int64_t stages = request.stages;
  // All stages read what the first one measures of the unpruned model.
  if (goes < static_cast<double>(stages)) {
    throw UsageError(fmt::format("{} stages for {:.0f} parameters", stages, goes), "--stages",
                     "give fewer stages, or a smaller target");
  }
  std::vector<std::int64_t> sizes;
  for (std::int64_t stage = 1; stage <= stages; ++stage) {
    const double gone = goes * static_cast<double>(stage) / static_cast<double>(stages);
    sizes.push_back(fixed + std::llround(static_cast<double>(prunable) - gone));
  }
  return sizes;
}

/// A stage by its number, from 1, and where its files lie.
struct Stage {
  std::int64_t number = 0, most_parameters = 0;
  fs::path folder, model;  ///< `model`: the folder that it leaves

  std::string name() const { return fmt::format("stage {}", number); }
  fs::path sensitivities() const { return folder / "sensitivity.h5"; }
  fs::path levels() const { return folder / "database.h5"; }
  fs::path assignment() const { return folder / "assignment.txt"; }
  fs::path pruned() const { return folder / "pruned"; }
  fs::path distillation() const { return folder / "distil"; }
};

/// What a stage has left.
struct Result {
  Stage stage;
  std::int64_t parameters = 0;
  std::optional<HeldOut> held_out;
};

class Prune {
 public:
  Prune(const Communicator& world, const Asked<PruneRequest>& asked, std::vector<std::int64_t> sizes)
      : world_(world),
        request_(asked.request),
        words_(asked.options),
        context_(make_context(world, request_)),
        unpruned_(request_.model),
        output_(request_.output),
        sizes_(std::move(sizes)),
        steps_(world, request_, "stages") {}

  /// Collective.
  void run();

 private:
  Stage stage(std::int64_t number) const;
  std::int64_t parameters_of(const fs::path& model) const;
  void take(const Stage& stage, const fs::path& from) const;
  void copy_as(const fs::path& model, const fs::path& from) const;
  void assign_and_stitch(const Stage& stage, const fs::path& from) const;
  void distil_layers(const Stage& stage) const;
  void clear(const Stage& stage) const;
  std::optional<HeldOut> measure(const Stage& stage) const;
  void conclude(const std::vector<Result>& results) const;

  const Communicator& world_;
  const PruneRequest& request_;
  StepWords words_;
  ops::Context context_;
  fs::path unpruned_, output_;
  std::vector<std::int64_t> sizes_;
  Steps steps_;
};

Stage Prune::stage(std::int64_t number) const {
  const fs::path folder = output_ / fmt::format("stage-{}", number);
  const bool last = number == std::ssize(sizes_);
  return {number, sizes_[static_cast<std::size_t>(number - 1)], folder, (last ? output_ : folder) / "model"};
}

/// All steps of a stage that begins with the model in the folder `from`.
void Prune::take(const Stage& stage, const fs::path& from) const {
  log_info("{} of {}: {} parameters", stage.name(), sizes_.size(),
           human_count(static_cast<std::uint64_t>(stage.most_parameters)));
  steps_.make_folder(stage.folder);
  const Words model = {"--model", from.string()};
  steps_.run_or_resume(sensitivity, steps_.with_limit(words_.on_calibration(model, false)),
                       stage.sensitivities());
  Words weighed = model;
  weighed.insert(weighed.end(), {"--sensitivity", stage.sensitivities().string()});
  steps_.run_or_resume(database, steps_.with_limit(words_.on_calibration(weighed, true)), stage.levels());
  assign_and_stitch(stage, from);
  distil_layers(stage);
}

void Prune::assign_and_stitch(const Stage& stage, const fs::path& from) const {
  const Words of_levels = {"--model", from.string(), "--database", stage.levels().string()};
  if (!steps_.exists(stage.assignment())) {
    Words words = words_.quiet(of_levels);
    words.insert(words.end(), {"--target-params", std::to_string(stage.most_parameters), "--output",
                               stage.assignment().string()});
    assign(world_, words);
  }
  if (steps_.exists(stage.pruned())) return;
  steps_.stop_where_asked();
  Words words = words_.quiet(of_levels);
  words.insert(words.end(),
               {"--assignment", stage.assignment().string(), "--output", stage.pruned().string()});
  stitch(world_, words);
}

/// Toward the unpruned model's layers, however many stages lie between.
void Prune::distil_layers(const Stage& stage) const {
  const fs::path run = stage.distillation();
  if (!steps_.exists(run / "manifest.json")) {
    steps_.stop_where_asked();
    Words words = steps_.with_limit(
        words_.on_data({"--model", stage.pruned().string(), "--reference", unpruned_.string(),
                        "--sensitivity", this->stage(1).sensitivities().string()}));
    words.insert(words.end(), {"--output", run.string(), "--resume", "auto"});
    distil(world_, words);
  }
  agree_at_root(world_, [&] { publish_folder(run / "model", stage.model); });
}

/// The model of an earlier stage as the one of this, which has no more to do.
void Prune::copy_as(const fs::path& model, const fs::path& from) const {
  agree_at_root(world_, [&] {
    const fs::path part = part_path(model);
    fs::remove_all(part);
    fs::copy(from, part, fs::copy_options::recursive);
    publish_folder(part, model);
  });
}

/// Removes what nothing needs any more; the first stage's sensitivities are the unpruned model's.
void Prune::clear(const Stage& stage) const {
  agree_at_root(world_, [&] {
    // Left where a distillation was killed at its very end.
    fs::remove_all(stage.distillation() / "layers");
    if (request_.keep_files) return;
    fs::remove(stage.levels());
    fs::remove_all(stage.pruned());
    if (stage.number > 1) fs::remove(stage.sensitivities());
  });
}

std::optional<HeldOut> Prune::measure(const Stage& stage) const {
  if (request_.held_out.empty()) return std::nullopt;
  steps_.make_folder(stage.folder);
  const auto model = open_model(world_, stage.model, std::nullopt, std::nullopt, request_.precision);
  const auto dense = open_model(world_, unpruned_, std::nullopt, std::nullopt, request_.precision);
  return measure_held_out(steps_, context_, request_, *model, *dense, stage.folder / "held-out.json",
                          stage.name());
}

void Prune::conclude(const std::vector<Result>& results) const {
  std::string table =
      fmt::format("{:<10} {:>16} {:>12} {:>12}   model\n", "", "parameters", "held-out KL", "perplexity");
  Json json;
  json["tool_version"] = version_with_revision();
  for (const Result& result : results) {
    const std::string model = result.stage.model.string();
    Json line = {{"model", model}, {"parameters", result.parameters}};
    const auto& held_out = result.held_out;
    if (held_out) line.update({{"kl", held_out->kl}, {"perplexity", held_out->perplexity}});
    json["stages"].push_back(std::move(line));
    table += fmt::format("{:<10} {:>16} {:>12} {:>12}   {}\n", result.stage.name(),
                         human_count(static_cast<std::uint64_t>(result.parameters)),
                         held_out ? fmt::format("{:.4f}", held_out->kl) : "",
                         held_out ? fmt::format("{:.3f}", held_out->perplexity) : "", model);
  }
  agree_at_root(world_, [&] { write_file_atomically(output_ / "prune.json", json.dump(2) + "\n"); });
  print(world_, table);
}

std::int64_t Prune::parameters_of(const fs::path& model) const {
  return open_model(world_, model, std::nullopt, std::nullopt, std::nullopt)->parameters();
}

void Prune::run() {
  std::vector<Result> results;
  fs::path from = unpruned_;
  for (std::int64_t number = 1; number <= std::ssize(sizes_); ++number) {
    const Stage now = stage(number);
    if (!steps_.exists(now.model)) {
      const bool is_last = number == std::ssize(sizes_);
      // A level may take away more than a stage asks for.
      if (parameters_of(from) <= now.most_parameters) {
        log_info("{} has no more than {} parameters already", from.string(),
                 human_count(static_cast<std::uint64_t>(now.most_parameters)));
        if (!is_last) continue;
        copy_as(now.model, from);
      } else {
        take(now, from);
      }
    }
    clear(now);
    results.push_back({now, parameters_of(now.model), measure(now)});
    from = now.model;
  }
  conclude(results);
}

/// What a step would refuse only after hours. Reads no file but the configuration.
void check_steps(const Asked<PruneRequest>& asked, const HfConfig& config, int ranks) {
  const StepWords words(asked.options);
  Asked<SensitivityOptions> sensitivity;
  Asked<DatabaseOptions> database;
  Asked<DistilOptions> distil;
  sensitivity.options.parse(words.on_calibration({}, false));
  check_options(sensitivity.read(ranks));
  database.options.parse(words.on_calibration({}, true));
  check_options(database.read(ranks));
  distil.options.parse(words.on_data({}));
  const DistilOptions distilled = distil.read(ranks);
  check_ranges(distilled);
  if (distilled.refit) check_reaches_stream(config, "--refit", "give 'refit = none' in the section [distil]");
  refuse_in_section(sensitivity.options, "sensitivity", {"database", "assignment", "from", "reference"});
  // Lists of what to remove fit the first stage alone.
  refuse_in_section(database.options, "database",
                    {"path", "compensate", "sensitivity", "attn-removed", "ffn-removed"});
  refuse_in_section(distil.options, "distil", {"reference", "sensitivity", "data"});
}

OwnFiles files_of_prune() {
  OwnFiles files = {"identity.json*", "prune.json*", "bill.jsonl*"}, stage = step_files();
  const auto add = [](OwnFiles& to, const OwnFiles& more) { to.insert(to.end(), more.begin(), more.end()); };
  add(files, model_files("model"));
  add(stage, {"distil.lock*", "distil/config.ini*", "distil/metrics.jsonl*", "distil/manifest.json*",
              "distil/layers/*/*.safetensors*"});
  for (const char* folder : {"model", "pruned", "distil/model"}) add(stage, model_files(folder));
  add(files, below("stage-*", stage));
  return files;
}

/// Of the stages.
std::vector<std::int64_t> check_prune(const Asked<PruneRequest>& asked, int ranks) {
  const PruneRequest& request = asked.request;
  check_target(request.target, "prune", "--target-params and --target-sparsity");
  const HfConfig config = read_hf_config(request.model);
  refuse_mixture(config, "gradual pruning", "prune", "give database, search and stitch by themselves");
  check_steps(asked, config, ranks);
  return sizes_of_stages(config, request);
}

}  // namespace

void prune(const Communicator& world, const Words& words) {
  Asked<PruneRequest> asked;
  if (!begin(world, asked, words)) return;
  std::vector<std::int64_t> sizes = agree_on(world, [&] { return check_prune(asked, world.size()); });
  Prune all(world, asked, std::move(sizes));
  std::optional<OutputLock> lock;
  agree_at_root(world, [&] {
    lock.emplace(asked.request.output, true);
    open_steps(
        asked.request, identity_of_steps(asked.options),
        {"run of stages", "stages", {"model", "stage-1", "prune.json"}, "prune.json", files_of_prune()});
  });
  all.run();
}

}  // namespace galapagos::app
