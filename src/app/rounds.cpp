#include "command.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

using Words = std::vector<std::string>;

Options declare_rounds() {
  Options options("rounds",
                  "sensitivity, database and assignment again and again, each round on the path of the best "
                  "model so far, as "
                  "long as it gets better on text that none of them sees; the sections [sensitivity], "
                  "[database] and [search] of "
                  "--config FILE are for the steps");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "calibration", po::value<Words>()->multitoken()->composing(),
      "text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")(
      "held-out", po::value<Words>()->multitoken()->composing(), "text on which rounds are compared")(
      "output", po::value<std::string>(), "folder, with one for each round");
  declare_target(options);
  options.declared().add_options()("rounds", po::value<std::int64_t>()->default_value(3),
                                   "at most, after the first, which is on the unpruned model's path")(
      "calibration-tokens", po::value<std::int64_t>()->default_value(0), "of databases and searches; 0: all")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "compensate", po::value<std::string>()->default_value("auto"),
      "ridge of the databases' compensation, auto, or none")(
      "steps", po::value<std::int64_t>()->default_value(2),
      "by how many levels a module may change from one round to the next; 0: by any number")(
      "from", po::value<std::string>()->default_value("drawn"),
      "what rounds after the first measure sensitivities from: drawn or kl, see 'galapagos sensitivity'")(
      "generations", po::value<std::int64_t>()->default_value(0),
      "of a search in each round; 0: its start alone, the assignment of least predicted loss")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")("resume", po::bool_switch(),
                                                          "go on with unfinished rounds");
  declare_common(options, true);
  return options;
}

/// A database and an assignment of it, by their files, and what they lose on the held-out text.
struct Pruned {
  std::string name;
  fs::path database, assignment;
  double kl = 0, perplexity = 0;
  std::int64_t parameters = 0;
};

/// The words of the steps, from what is asked of the rounds: what was given is handed on, and goes before
/// what stands in a step's own section.
class StepWords {
 public:
  explicit StepWords(const Options& options) : options_(options) {}

  Words sensitivity(const Words& own) const { return with_text(own, false); }
  Words database(const Words& own) const { return with_text(own, true); }
  Words assign(const Words& own) const {
    Words words = own;
    add(words, "model");
    add(words, "log-level");
    add_target(words);
    return words;
  }
  Words search(const Words& own) const {
    Words words = with_text(own, true);
    words.insert(words.end(), {"--generations", std::to_string(options_.get<std::int64_t>("generations"))});
    add_target(words);
    return words;
  }

 private:
  void add(Words& words, const std::string& name) const {
    words.insert(words.end(), {"--" + name, options_.get<std::string>(name)});
  }
  void add_target(Words& words) const {
    const SizeTarget target = target_of(options_);
    if (target.level) words.insert(words.end(), {"--target-level", std::to_string(*target.level)});
    if (target.parameters) words.insert(words.end(), {"--target-params", std::to_string(*target.parameters)});
    if (target.sparsity)
      words.insert(words.end(), {"--target-sparsity", fmt::format("{}", *target.sparsity)});
  }
  Words with_text(const Words& own, bool all_tokens) const {
    Words words = own;
    for (const char* name :
         {"model", "config", "log-level", "backend", "collectives", "precision", "memory-limit"})
      if (options_.given(name)) add(words, name);
    for (const char* name : {"batch-tokens", "threads", "sequence-length", "calibration-tokens"}) {
      if (!options_.given(name) || (name == std::string("calibration-tokens") && !all_tokens)) continue;
      words.insert(words.end(), {std::string("--") + name, std::to_string(options_.get<std::int64_t>(name))});
    }
    for (const char* name : {"allow-gpu-sharing", "no-collectives-check", "add-bos"})
      if (options_.flag(name)) words.push_back(std::string("--") + name);
    words.push_back("--calibration");
    for (const std::string& file : options_.get<Words>("calibration")) words.push_back(file);
    return words;
  }

  const Options& options_;
};

/// Everything that decides what the rounds find.
std::string identity_of(const Options& options) {
  Json json;
  for (const char* name : {"model", "compensate", "from", "precision"})
    json[name] = options.get<std::string>(name);
  for (const char* name : {"calibration", "held-out"}) json[name] = options.get<Words>(name);
  for (const char* name : {"calibration-tokens", "sequence-length", "generations", "steps", "batch-tokens"})
    json[name] = options.get<std::int64_t>(name);
  json["add-bos"] = options.flag("add-bos");
  const SizeTarget target = target_of(options);
  json["target-level"] = target.level.value_or(-1);
  json["target-params"] = target.parameters.value_or(-1);
  json["target-sparsity"] = target.sparsity.value_or(-1);
  const auto config = options.find<std::string>("config");
  json["config"] = config ? read_file(*config) : std::string();
  return json.dump(2);
}

/// The steps of the rounds: each is a command of its own, run on all ranks, and is passed over where it was
/// done before.
class Rounds {
 public:
  Rounds(const Communicator& world, const Options& options)
      : world_(world),
        options_(options),
        words_(options),
        context_(make_context(world, options)),
        model_(options.get<std::string>("model")),
        output_(options.get<std::string>("output")),
        most_seconds_(parse_duration(options.get<std::string>("max-walltime"), "--max-walltime")),
        stop_(most_seconds_) {
    watch_signals();
  }

  /// Collective.
  void run();

 private:
  bool exists(const fs::path& path) const;
  void make_folder(const fs::path& folder) const {
    agree_at_root(world_, [&] { fs::create_directories(folder); });
  }
  void stop_where_asked() const;
  Words with_limit(Words words) const;
  void run_or_resume(Command command, Words words, const fs::path& output) const;
  Pruned first_round() const;
  std::vector<Pruned> next_round(std::int64_t round, const Pruned& path) const;
  fs::path choose(const fs::path& folder, const fs::path& database, const fs::path& near) const;
  fs::path least(const fs::path& output, const fs::path& database, const Words& more) const;
  bool same(const fs::path& one, const fs::path& other) const;
  Evaluation evaluate(Pruned& pruned) const;
  Pruned measure(std::string name, const fs::path& folder, const fs::path& database,
                 const fs::path& assignment) const;
  void conclude(const std::vector<Pruned>& all, const Pruned& best) const;

  const Communicator& world_;
  const Options& options_;
  StepWords words_;
  ops::Context context_;
  std::string model_;
  fs::path output_;
  double most_seconds_;
  StopRule stop_;
  Stopwatch watch_;
};

bool Rounds::exists(const fs::path& path) const {
  bool there = false;
  agree_at_root(world_, [&] { there = fs::exists(path); });
  return world_.broadcast_value<char>(there ? 1 : 0) != 0;
}

/// An assignment and an evaluation do not look at signals themselves, and are waited for.
void Rounds::stop_where_asked() const {
  if (!world_.any(stop_.holds())) return;
  agree(world_, [&] {
    throw StoppedEarly("stopped between two steps of the rounds", output_.string(), "go on with --resume");
  });
}

Words Rounds::with_limit(Words words) const {
  if (most_seconds_ > 0) {
    const double left = std::max(std::ceil(most_seconds_ - watch_.seconds()), 1.0);
    words.insert(words.end(), {"--max-walltime", fmt::format("{:.0f}", left)});
  }
  return words;
}

void Rounds::run_or_resume(Command command, Words words, const fs::path& output) const {
  const bool begun = exists(part_path(output));
  // Both are there where a sensitivity was killed at its very end, which it makes up for.
  if (exists(output) && !begun) return;
  stop_where_asked();
  words.insert(words.end(), {"--output", output.string()});
  if (begun) words.push_back("--resume");
  command(world_, words);
}

/// Writes the assignment of least predicted loss with further words of `assign`, unless it is there.
fs::path Rounds::least(const fs::path& output, const fs::path& database, const Words& more) const {
  if (exists(output)) return output;
  Words words = words_.assign({"--database", database.string(), "--output", output.string()});
  words.insert(words.end(), more.begin(), more.end());
  assign(world_, words);
  return output;
}

/// The next assignment of a database: the one of least predicted loss `near` the path's, or what a search
/// from it finds.
fs::path Rounds::choose(const fs::path& folder, const fs::path& database, const fs::path& near) const {
  Words within;
  if (const auto steps = options_.get<std::int64_t>("steps"); !near.empty() && steps > 0)
    within = {"--near", near.string(), "--steps", std::to_string(steps)};
  const fs::path start = least(folder / "assignment.txt", database, within);
  if (options_.get<std::int64_t>("generations") == 0) return start;
  const fs::path run = folder / "search", best = run / "best.txt";
  // A search writes its best before its end, too.
  if (const fs::path ended = folder / "searched"; !exists(ended)) {
    stop_where_asked();
    Words own = {"--database", database.string()};
    if (!near.empty()) own.insert(own.end(), {"--start", start.string()});
    Words words = with_limit(words_.search(own));
    words.insert(words.end(), {"--output", run.string()});
    if (exists(run / "checkpoint.h5") || exists(run / "checkpoint.previous.h5")) words.push_back("--resume");
    search(world_, words);
    agree_at_root(world_, [&] { write_file_atomically(ended, ""); });
  }
  return best;
}

/// Collective.
Evaluation Rounds::evaluate(Pruned& pruned) const {
  const auto precision = precision_of(options_);
  const auto model =
      open_model(world_, model_, pruned.database.string(), pruned.assignment.string(), precision);
  const auto dense = open_model(world_, model_, std::nullopt, std::nullopt, precision);
  SequenceRequest request;
  agree(world_, [&] {
    pruned.parameters = model->space.parameters(model->assignment);
    request.sequence_length =
        checked_sequence_length(options_.get<std::int64_t>("sequence-length"), model->config);
  });
  request.add_bos = options_.flag("add-bos");
  const TokenSet data = load_model_sequences(world_, paths_of(options_.get<Words>("held-out")),
                                             model->checkpoint->folder(), model->config, request);
  const ModelSource source = agree_on(world_, [&] { return model->source(context_); });
  const ModelSource reference = agree_on(world_, [&] { return dense->source(context_); });
  return summarise(score_sequences(world_, context_, source, &reference, data, read_evaluation(options_)));
}

Pruned Rounds::measure(std::string name, const fs::path& folder, const fs::path& database,
                       const fs::path& assignment) const {
  Pruned pruned{std::move(name), database, assignment};
  const fs::path known = folder / (pruned.name + ".json");
  if (!exists(known)) {
    stop_where_asked();
    const Evaluation found = evaluate(pruned);
    agree_at_root(world_, [&] {
      if (found.tokens == 0)
        throw InputError("no sequence of two tokens or more", "--held-out", "give a longer text");
      if (!std::isfinite(found.kl))
        throw NumericalError("the divergence is not finite", pruned.name, "use --precision fp32");
      Json json;
      json["kl"] = found.kl;
      json["perplexity"] = found.perplexity();
      json["tokens"] = found.tokens;
      json["parameters"] = pruned.parameters;
      write_file_atomically(known, json.dump(2) + "\n");
    });
  }
  agree_at_root(world_, [&] {
    const Json json = parse_json(read_file(known), known.string());
    pruned.kl = json.value("kl", std::nan(""));
    pruned.perplexity = json.value("perplexity", std::nan(""));
    pruned.parameters = json.value("parameters", std::int64_t{0});
    if (!std::isfinite(pruned.kl))
      throw InputError("no divergence in a round's result", known.string(),
                       "remove the file and use --resume");
  });
  pruned.kl = world_.broadcast_value(pruned.kl);
  pruned.perplexity = world_.broadcast_value(pruned.perplexity);
  pruned.parameters = world_.broadcast_value(pruned.parameters);
  log_info("{}: held-out KL {:.4f}, perplexity {:.3f}", pruned.name, pruned.kl, pruned.perplexity);
  return pruned;
}

Pruned Rounds::first_round() const {
  const fs::path folder = output_ / "round-0", sensitivities = folder / "sensitivity.h5",
                 levels = folder / "database.h5";
  make_folder(folder);
  run_or_resume(sensitivity, with_limit(words_.sensitivity({})), sensitivities);
  run_or_resume(database, with_limit(words_.database({"--sensitivity", sensitivities.string()})), levels);
  return measure("round-0", folder, levels, choose(folder, levels, {}));
}

/// The path's own assignment in the database made on it, and the one chosen there, the next path.
std::vector<Pruned> Rounds::next_round(std::int64_t round, const Pruned& path) const {
  const std::string name = fmt::format("round-{}", round);
  const fs::path folder = output_ / name, sensitivities = folder / "sensitivity.h5",
                 levels = folder / "database.h5";
  make_folder(folder);
  Words at_path = {"--database", path.database.string(), "--assignment", path.assignment.string()};
  if (from_divergence(options_)) at_path.insert(at_path.end(), {"--from", "kl", "--reference", model_});
  run_or_resume(sensitivity, with_limit(words_.sensitivity(at_path)), sensitivities);
  Words own = {"--sensitivity", sensitivities.string(), "--path", path.assignment.string()};
  if (const auto& ridge = options_.get<std::string>("compensate"); ridge != "none")
    own.insert(own.end(), {"--compensate", ridge});
  run_or_resume(database, with_limit(words_.database(own)), levels);
  // Another order of removal may leave other KV heads, and the path's assignment too many parameters.
  const fs::path own_path =
      least(folder / "path.txt", levels, {"--near", path.assignment.string(), "--fewest-steps"});
  return {measure(name + "-path", folder, levels, own_path),
          measure(name, folder, levels, choose(folder, levels, own_path))};
}

void Rounds::conclude(const std::vector<Pruned>& all, const Pruned& best) const {
  std::string table =
      fmt::format("{:<16} {:>16} {:>12} {:>12}\n", "", "parameters", "held-out KL", "perplexity");
  for (const Pruned& pruned : all) {
    table +=
        fmt::format("{:<16} {:>16} {:>12.4f} {:>12.3f}\n", pruned.name,
                    human_count(static_cast<std::uint64_t>(pruned.parameters)), pruned.kl, pruned.perplexity);
  }
  table += fmt::format("best: {}; --database {} --assignment {}\n", best.name, best.database.string(),
                       (output_ / "best.txt").string());
  agree_at_root(world_, [&] {
    write_file_atomically(output_ / "best.txt", read_file(best.assignment));
    Json json;
    json["best"] = best.name;
    json["database"] = best.database.string();
    for (const Pruned& pruned : all)
      json["measured"].push_back({{"name", pruned.name},
                                  {"parameters", pruned.parameters},
                                  {"kl", pruned.kl},
                                  {"perplexity", pruned.perplexity}});
    write_file_atomically(output_ / "rounds.json", json.dump(2) + "\n");
  });
  print(world_, table);
}

bool Rounds::same(const fs::path& one, const fs::path& other) const {
  bool equal = false;
  agree_at_root(world_, [&] { equal = read_file(one) == read_file(other); });
  return world_.broadcast_value<char>(equal ? 1 : 0) != 0;
}

void Rounds::run() {
  std::vector<Pruned> all = {first_round()};
  Pruned best = all.front(), path = best;
  for (std::int64_t round = 1; round <= options_.get<std::int64_t>("rounds"); ++round) {
    const std::vector<Pruned> found = next_round(round, path);
    all.insert(all.end(), found.begin(), found.end());
    const Pruned& better = found[0].kl < found[1].kl ? found[0] : found[1];
    if (!(better.kl < best.kl)) break;
    best = better;
    if (same(path.assignment, found[1].assignment)) break;
    // Weights favour the path that they were made on, so that a new assignment is not judged before its own.
    path = found[1];
  }
  conclude(all, best);
}

int targets_of(const Options& options) {
  const SizeTarget target = target_of(options);
  return (target.level ? 1 : 0) + (target.parameters ? 1 : 0) + (target.sparsity ? 1 : 0);
}

/// What a step would refuse only after hours. Reads no file but the configuration.
void check_steps(const Options& options, int ranks) {
  const StepWords words(options);
  Options sensitivity = declare_sensitivity(), database = declare_database(), search = declare_search();
  sensitivity.parse(words.sensitivity({}));
  check_options(read_sensitivity(sensitivity, ranks));
  database.parse(words.database({}));
  check_options(read_database(database));
  const auto refuse = [](const Options& section, const std::string& title, const char* name) {
    if (section.given(name)) throw UsageError("the rounds decide on that", title + name, "leave it out");
  };
  for (const char* name : {"path", "compensate", "sensitivity"}) refuse(database, "[database] ", name);
  for (const char* name : {"database", "assignment", "from", "reference"})
    refuse(sensitivity, "[sensitivity] ", name);
  if (options.get<std::int64_t>("generations") == 0) return;
  search.parse(words.search({}));
  read_search(search, ranks);
  if (targets_of(search) != 1)
    throw UsageError("the rounds' target is that of the searches", "[search]", "leave targets out there");
}

void check_rounds(const Options& options, int ranks) {
  for (const char* name : {"model", "calibration", "held-out", "output"}) options.require(name);
  for (const char* name : {"rounds", "generations", "steps"}) {
    if (options.get<std::int64_t>(name) < 0)
      throw UsageError("a negative number", std::string("--") + name, "give 0 or more");
  }
  const SizeTarget target = target_of(options);
  if (targets_of(options) != 1) {
    throw UsageError("not one target", "galapagos rounds",
                     "give one of --target-level, --target-params and --target-sparsity");
  }
  if (target.sparsity && !(*target.sparsity > 0 && *target.sparsity <= 1)) {
    throw UsageError(fmt::format("a sparsity of {:g}", *target.sparsity), "--target-sparsity",
                     "give a share above 0 and up to 1, as 0.5");
  }
  if (const auto& ridge = options.get<std::string>("compensate"); ridge != "none")
    compensation_of(ridge, "--compensate");
  from_divergence(options);
  parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  check_steps(options, ranks);
}

/// On the root: begins the folder, or sees that it belongs to these options.
void open_folder(const Options& options) {
  for (const std::string& file : options.get<Words>("held-out")) {
    if (!fs::exists(file) && !fs::exists(file + ".bin"))
      throw InputError("there is no such file", file, "check the path given to --held-out");
  }
  const fs::path output = options.get<std::string>("output"), identity = output / "identity.json";
  const bool there = fs::exists(identity);
  if (there && !options.flag("resume")) {
    throw InputError("there are rounds already", output.string(),
                     "go on with --resume, or choose another --output");
  }
  if (there)
    return check_identity(read_file(identity), identity_of(options), "run of rounds", identity.string());
  fs::create_directories(output);
  write_file_atomically(identity, identity_of(options));
}

}  // namespace

void rounds(const Communicator& world, const Words& words) {
  Options options = declare_rounds();
  if (!begin(world, options, words)) return;
  agree(world, [&] { check_rounds(options, world.size()); });
  agree_at_root(world, [&] { open_folder(options); });
  Rounds(world, options).run();
}

}  // namespace galapagos::app
