#include "steps.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
namespace fs = std::filesystem;

void StepWords::add_text_where_given(Words& words, const char* name) const {
  if (options_.given_here(name))
    words.insert(words.end(), {fmt::format("--{}", name), options_.get<std::string>(name)});
}

void StepWords::add_number_where_given(Words& words, const char* name, const char* as) const {
  if (options_.given_here(name))
    words.insert(words.end(), {fmt::format("--{}", as), std::to_string(options_.get<std::int64_t>(name))});
}

Words StepWords::quiet(Words own) const {
  own.insert(own.end(), {"--log-level", options_.get<std::string>("log-level")});
  return own;
}

Words StepWords::computing(Words own) const {
  for (const char* name : {"config", "log-level", "backend", "collectives", "precision", "memory-limit"})
    add_text_where_given(own, name);
  for (const char* name : {"batch-tokens", "threads"}) add_number_where_given(own, name, name);
  for (const char* name : {"allow-gpu-sharing", "no-collectives-check"})
    if (options_.flag(name)) own.push_back(fmt::format("--{}", name));
  return own;
}

void StepWords::add_calibration(Words& words, const char* as) const {
  add_number_where_given(words, "sequence-length", "sequence-length");
  if (options_.flag("add-bos")) words.emplace_back("--add-bos");
  words.emplace_back(as);
  for (const std::string& file : options_.get<Words>("calibration")) words.push_back(file);
}

Words StepWords::on_calibration(Words own, bool all_tokens) const {
  Words words = computing(std::move(own));
  if (all_tokens) add_number_where_given(words, "calibration-tokens", "calibration-tokens");
  add_calibration(words, "--calibration");
  return words;
}

Words StepWords::on_data(Words own) const {
  Words words = computing(std::move(own));
  add_number_where_given(words, "calibration-tokens", "tokens");
  add_calibration(words, "--data");
  return words;
}

void StepWords::add_target(Words& words) const {
  const SizeTarget target = target_of(options_);
  if (target.level) words.insert(words.end(), {"--target-level", std::to_string(*target.level)});
  if (target.parameters) words.insert(words.end(), {"--target-params", std::to_string(*target.parameters)});
  if (target.sparsity) words.insert(words.end(), {"--target-sparsity", fmt::format("{}", *target.sparsity)});
}

void declare_steps(Options& options, const char* held_out, const char* output) {
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "calibration", po::value<Words>()->multitoken()->composing(),
      "text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")(
      "held-out", po::value<Words>()->multitoken()->composing(), held_out)(
      "output", po::value<std::string>(), output)("calibration-tokens",
                                                  po::value<std::int64_t>()->default_value(0),
                                                  "of all steps but the sensitivities; 0: all")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")("resume", po::bool_switch(),
                                                          "go on with what is unfinished");
}

int targets_of(const Options& options) {
  const SizeTarget target = target_of(options);
  return (target.level ? 1 : 0) + (target.parameters ? 1 : 0) + (target.sparsity ? 1 : 0);
}

void check_target(const Options& options, const std::string& command, const std::string& choices) {
  const SizeTarget target = target_of(options);
  if (targets_of(options) != 1)
    throw UsageError("not one target", "galapagos " + command, "give one of " + choices);
  if (target.sparsity && !(*target.sparsity > 0 && *target.sparsity <= 1)) {
    throw UsageError(fmt::format("a sparsity of {:g}", *target.sparsity), "--target-sparsity",
                     "give a share above 0 and up to 1, as 0.5");
  }
}

Json identity_of_steps(const Options& options) {
  Json json;
  for (const char* name : {"model", "precision"}) json[name] = options.get<std::string>(name);
  for (const char* name : {"calibration", "held-out"})
    json[name] = options.find<Words>(name).value_or(Words());
  for (const char* name : {"calibration-tokens", "sequence-length", "batch-tokens"})
    json[name] = options.get<std::int64_t>(name);
  json["add-bos"] = options.flag("add-bos");
  const SizeTarget target = target_of(options);
  json["target-level"] = target.level.value_or(-1);
  json["target-params"] = target.parameters.value_or(-1);
  json["target-sparsity"] = target.sparsity.value_or(-1);
  const auto config = options.find<std::string>("config");
  json["config"] = config ? read_file(*config) : std::string();
  return json;
}

void refuse_in_section(const Options& section, const std::string& title,
                       std::initializer_list<const char*> names) {
  const auto refuse = [&](const char* name) {
    if (!section.in_section(name)) return;
    throw UsageError("the steps are told that by the command", fmt::format("[{}] {}", title, name),
                     "leave it out there");
  };
  for (const char* name : {"model", "output", "resume", "dry-run", "max-walltime", "repair"}) refuse(name);
  for (const char* name : names) refuse(name);
}

namespace {

/// Whether a step has left anything beside the file `known`.
bool begun(const fs::path& output, const fs::path& known) {
  const auto is_result = [&](const fs::directory_entry& entry) {
    return entry.is_regular_file() && entry.path() != known;
  };
  const fs::recursive_directory_iterator all(output);
  return std::any_of(begin(all), end(all), is_result);
}

}  // namespace

void open_steps(const Options& options, const std::string& identity, const std::string& what,
                const std::vector<std::string>& results) {
  for (const char* option : {"calibration", "held-out"}) {
    for (const std::string& file : options.find<Words>(option).value_or(Words())) {
      if (!fs::exists(file) && !fs::exists(file + ".bin"))
        throw InputError("there is no such file", file, fmt::format("check the path given to --{}", option));
    }
  }
  const fs::path output = options.get<std::string>("output"), known = output / "identity.json";
  // A run whose first step was refused holds no folder.
  const bool there = fs::exists(known) && begun(output, known);
  if (there && !options.flag("resume")) {
    throw InputError("there is something of a run already", output.string(),
                     "go on with --resume, or choose another --output");
  }
  if (there) return check_identity(read_file(known), identity, what, known.string());
  for (const std::string& name : results) {
    if (fs::exists(output / name) && !fs::exists(known))
      throw InputError("there is something of another run already", (output / name).string(),
                       "choose another --output");
  }
  fs::create_directories(output);
  write_file_atomically(known, identity);
}

Steps::Steps(const Communicator& world, const Options& options, std::string what)
    : world_(world),
      options_(options),
      what_(std::move(what)),
      most_seconds_(parse_duration(options.get<std::string>("max-walltime"), "--max-walltime")),
      stop_(most_seconds_) {
  watch_signals();
}

bool Steps::exists(const fs::path& path) const {
  bool there = false;
  agree_at_root(world_, [&] { there = fs::exists(path); });
  return world_.broadcast_value<char>(there ? 1 : 0) != 0;
}

void Steps::make_folder(const fs::path& folder) const {
  agree_at_root(world_, [&] { fs::create_directories(folder); });
}

void Steps::stop_where_asked() const {
  if (!world_.any(stop_.holds())) return;
  agree(world_, [&] {
    throw StoppedEarly(fmt::format("stopped between two steps of the {}", what_),
                       options_.get<std::string>("output"), "go on with --resume");
  });
}

Words Steps::with_limit(Words words) const {
  if (most_seconds_ > 0) {
    const double left = std::max(std::ceil(most_seconds_ - watch_.seconds()), 1.0);
    words.insert(words.end(), {"--max-walltime", fmt::format("{:.0f}", left)});
  }
  return words;
}

void Steps::run_or_resume(Command command, Words words, const fs::path& output) const {
  const bool begun = exists(part_path(output));
  // Both are there where a sensitivity was killed at its very end, which it makes up for.
  if (exists(output) && !begun) return;
  stop_where_asked();
  words.insert(words.end(), {"--output", output.string()});
  if (begun) words.emplace_back("--resume");
  command(world_, words);
}

namespace {

/// Collective.
Evaluation evaluate(const Communicator& world, const ops::Context& context, const Options& options,
                    const NamedModel& model, const NamedModel& dense) {
  SequenceRequest request;
  agree(world, [&] {
    request.sequence_length =
        checked_sequence_length(options.get<std::int64_t>("sequence-length"), model.config);
  });
  request.add_bos = options.flag("add-bos");
  const TokenSet data = load_model_sequences(world, paths_of(options.get<Words>("held-out")),
                                             model.checkpoint->folder(), model.config, request);
  const ModelSource source = agree_on(world, [&] { return model.source(context); });
  const ModelSource reference = agree_on(world, [&] { return dense.source(context); });
  return summarise(score_sequences(world, context, source, &reference, data, read_evaluation(options)));
}

}  // namespace

HeldOut measure_held_out(const Steps& steps, const ops::Context& context, const Options& options,
                         const NamedModel& model, const NamedModel& dense, const fs::path& known,
                         const std::string& name) {
  const Communicator& world = steps.world();
  if (!steps.exists(known)) {
    steps.stop_where_asked();
    const Evaluation found = evaluate(world, context, options, model, dense);
    agree_at_root(world, [&] {
      if (found.tokens == 0)
        throw InputError("no sequence of two tokens or more", "--held-out", "give a longer text");
      if (!std::isfinite(found.kl))
        throw NumericalError("the divergence is not finite", name, "use --precision fp32");
      Json json;
      json["kl"] = found.kl;
      json["perplexity"] = found.perplexity();
      json["tokens"] = found.tokens;
      json["parameters"] = model.parameters();
      write_file_atomically(known, json.dump(2) + "\n");
    });
  }
  HeldOut held;
  agree_at_root(world, [&] {
    const Json json = parse_json(read_file(known), known.string());
    held.kl = json.value("kl", std::nan(""));
    held.perplexity = json.value("perplexity", std::nan(""));
    held.parameters = json.value("parameters", std::int64_t{0});
    if (!std::isfinite(held.kl))
      throw InputError("no divergence in a result", known.string(), "remove the file and use --resume");
  });
  held = world.broadcast_value(held);
  log_info("{}: held-out KL {:.4f}, perplexity {:.3f}", name, held.kl, held.perplexity);
  return held;
}

}  // namespace galapagos::app
