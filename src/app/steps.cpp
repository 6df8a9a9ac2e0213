#include "steps.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>

namespace galapagos::app {
namespace fs = std::filesystem;

void StepWords::add_where_given(Words& words, const char* name, const std::string& as) const {
  if (options_.given_here(name)) words.insert(words.end(), {"--" + as, options_.words(name).front()});
}

Words StepWords::quiet(Words own) const {
  own.insert(own.end(), {"--log-level", options_.get<std::string>("log-level")});
  return own;
}

Words StepWords::computing(Words own) const {
  for (const char* name : {"config", "log-level", "backend", "collectives", "precision", "memory-limit",
                           "batch-tokens", "threads"})
    add_where_given(own, name, name);
  for (const char* name : {"allow-gpu-sharing", "no-collectives-check"})
    if (options_.flag(name)) own.push_back(fmt::format("--{}", name));
  return own;
}

void StepWords::add_calibration(Words& words, const char* as) const {
  add_where_given(words, "sequence-length", "sequence-length");
  if (options_.flag("add-bos")) words.emplace_back("--add-bos");
  for (const char* name : text_option_names) {
    const bool is_flag = std::string_view(name) == "allow-invalid-utf8";
    if (!is_flag) add_where_given(words, name, name);
    if (is_flag && options_.flag(name)) words.push_back(fmt::format("--{}", name));
  }
  words.emplace_back(as);
  for (const std::string& file : options_.get<Words>("calibration")) words.push_back(file);
}

Words StepWords::on_calibration(Words own, bool all_tokens) const {
  Words words = computing(std::move(own));
  if (all_tokens) add_where_given(words, "calibration-tokens", "calibration-tokens");
  add_calibration(words, "--calibration");
  return words;
}

Words StepWords::on_data(Words own) const {
  Words words = computing(std::move(own));
  add_where_given(words, "calibration-tokens", "tokens");
  add_calibration(words, "--data");
  return words;
}

void StepWords::add_target(Words& words) const {
  for (const std::string name :
       {"only", "target-level", "target-params", "target-sparsity", "target-memory", "target-kv-cache",
        "kv-tokens", "target-latency", "target-speedup", "latency-table", "latency-phase"})
    if (options_.has(name)) words.insert(words.end(), {"--" + name, options_.words(name).front()});
}

void bind_steps(Options& list, StepsRequest& request, const char* held_out, const char* output,
                bool needs_held_out) {
  list.add("model", request.model, "folder of a Hugging Face model", {.required = true, .decides = true});
  list.add("calibration", request.calibration,
           "text (.txt, .jsonl, .json, also .gz and .zst) or token files (.bin)",
           {.required = true, .decides = true});
  list.add("held-out", request.held_out, held_out, {.required = needs_held_out, .decides = true});
  list.add("output", request.output, output, {.required = true});
  list.add("calibration-tokens", request.calibration_tokens, "of all steps but the sensitivities; 0: all",
           {.decides = true});
  bind_sequences(list, request, true);
  list.add_seconds("max-walltime", request.max_seconds, "stop in time to resume, as 11:45:00; 0: no limit");
  bind_resume(list, request, "an unfinished run");
}

void check_target(const SizeTarget& target, const std::string& command, const std::string& choices) {
  if (target.count() != 1)
    throw UsageError("not one target", "galapagos " + command, "give one of " + choices);
}

std::string identity_of_steps(const Options& options) {
  Json json = options.identity();
  json.emplace("target-level", -1);  // of stages, too, which have no such option
  if (options.has("latency-table"))
    json["latency-table"] = hex64(Hash64().add(read_file(options.words("latency-table").front())).value());
  json["config"] = options.has("config") ? read_file(options.words("config").front()) : "";
  return json.dump(2);
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

OwnFiles step_files() {
  return {"sensitivity.h5*", "database.h5*", "assignment.txt*", "path.txt*", "*.json", "*.json.part"};
}

void open_steps(const StepsRequest& request, const std::string& identity, const StepsFolder& folder) {
  const auto look_for = [](const Words& files, const char* option) {
    for (const std::string& file : files) {
      if (!fs::exists(file) && !fs::exists(file + ".bin"))
        throw InputError("there is no such file", file, fmt::format("check the path given to {}", option));
    }
  };
  look_for(request.calibration, "--calibration");
  look_for(request.held_out, "--held-out");
  const fs::path &output = request.output, known = output / "identity.json";
  // A run whose first step was refused holds no folder.
  check_resume(request);
  const bool fits = fs::exists(known) && Json::parse(read_file(known), nullptr, false).contains(folder.key);
  if (fs::exists(known) && !fits)
    throw InputError("a run of another command is there", known.string(), "choose another --output");
  if (request.fresh && fits) {
    std::vector<fs::path> inputs = {request.model};
    inputs.insert(inputs.end(), request.calibration.begin(), request.calibration.end());
    inputs.insert(inputs.end(), request.held_out.begin(), request.held_out.end());
    check_inputs_stay(output, folder.files, inputs);
    remove_own_files(output, folder.files);
  }
  const bool there = fits && fs::exists(known) && begun(output, known);
  if (there) {
    check_found(request.resume, Found::unfinished, folder.what, output.string());
    check_identity(read_file(known), identity, folder.what, known.string());
    if (!folder.complete.empty() && fs::exists(output / folder.complete))
      return log_info("{} is complete already", output.string());
    return log_info("goes on from {}; --fresh begins anew", output.string());
  }
  for (const std::string& name : folder.results) {
    if (fs::exists(output / name) && !fs::exists(known))
      throw InputError("there is something of another run already", (output / name).string(),
                       "choose another --output");
  }
  make_folders(output);
  write_file_atomically(known, identity);
}

Steps::Steps(const Communicator& world, const StepsRequest& request, std::string what)
    : world_(world), request_(request), what_(std::move(what)), stop_(request.max_seconds) {
  watch_signals();
}

bool Steps::exists(const fs::path& path) const {
  bool there = false;
  agree_at_root(world_, [&] { there = fs::exists(path); });
  return world_.broadcast_value<char>(there ? 1 : 0) != 0;
}

void Steps::make_folder(const fs::path& folder) const {
  agree_at_root(world_, [&] { make_folders(folder); });
}

void Steps::stop_where_asked() const {
  if (!world_.any(stop_.holds())) return;
  agree(world_, [&] {
    throw StoppedEarly(fmt::format("stopped between two steps of the {}", what_), request_.output.string(),
                       go_on);
  });
}

Words Steps::with_limit(Words words) const {
  if (request_.max_seconds > 0) {
    const double left = std::max(std::ceil(request_.max_seconds - watch_.seconds()), 1.0);
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
  words.insert(words.end(), {"--resume", "auto"});  // whatever stands above the sections of a file
  command(world_, words);
}

namespace {

/// Collective.
Evaluation evaluate(const Communicator& world, const ops::Context& context, const StepsRequest& request,
                    const NamedModel& model, const NamedModel& dense) {
  SequenceRequest text;
  agree(world,
        [&] { text.sequence_length = checked_sequence_length(request.sequence_length, model.config); });
  text.add_bos = request.add_bos;
  text.text = request.text;
  const TokenSet data = load_model_sequences(world, {request.held_out.begin(), request.held_out.end()},
                                             model.checkpoint->folder(), model.config, text);
  const ModelSource source = agree_on(world, [&] { return model.source(context); });
  const ModelSource reference = agree_on(world, [&] { return dense.source(context); });
  return summarise(score_sequences(world, context, source, &reference, data,
                                   {request.batch_tokens, request.memory_limit}));
}

}  // namespace

HeldOut measure_held_out(const Steps& steps, const ops::Context& context, const StepsRequest& request,
                         const NamedModel& model, const NamedModel& dense, const fs::path& known,
                         const std::string& name) {
  const Communicator& world = steps.world();
  if (!steps.exists(known)) {
    steps.stop_where_asked();
    const Evaluation found = evaluate(world, context, request, model, dense);
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
