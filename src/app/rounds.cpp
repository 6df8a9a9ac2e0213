#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

using Words = std::vector<std::string>;

Options declare_rounds() {
  Options options("rounds",
                  "sensitivity, database and search again and again, each round on the path of the best "
                  "assignment so far, "
                  "as long as it gets better on text that none of them sees; [sensitivity], [database], "
                  "[assign] and [search] of "
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
      "generations", po::value<std::int64_t>()->default_value(0),
      "of a search in each round; 0: its start alone, the assignment of least predicted loss")(
      "resume", po::bool_switch(), "go on with unfinished rounds");
  declare_common(options, true);
  return options;
}

/// A database and an assignment of it, by their files, and what they lose on the held-out text.
struct Pruned {
  std::string name;
  fs::path database, assignment;
  double kl = 0, perplexity = 0;
};

/// The steps of the rounds: each is a command of its own, run on all ranks, and is passed over where it was
/// done before.
class Rounds {
 public:
  Rounds(const Communicator& world, const Options& options)
      : world_(world),
        options_(options),
        context_(make_context(world, options)),
        model_(options.get<std::string>("model")),
        output_(options.get<std::string>("output")) {}

  /// Collective.
  void run();

 private:
  bool exists(const fs::path& path) const;
  Words step(const std::string& command, const Words& own) const;
  Words with_text(const std::string& command, Words own) const;
  void run_or_resume(Command command, Words words, const fs::path& output, const fs::path& unfinished) const;
  Pruned first_round() const;
  std::vector<Pruned> next_round(std::int64_t round, const Pruned& path) const;
  fs::path choose(const fs::path& folder, const fs::path& database) const;
  Pruned measure(std::string name, const fs::path& folder, const fs::path& database,
                 const fs::path& assignment) const;
  void conclude(const std::vector<Pruned>& all, const Pruned& best) const;

  const Communicator& world_;
  const Options& options_;
  ops::Context context_;
  std::string model_;
  fs::path output_;
};

bool Rounds::exists(const fs::path& path) const {
  bool there = false;
  agree_at_root(world_, [&] { there = fs::exists(path); });
  return world_.broadcast_value<char>(there ? 1 : 0) != 0;
}

/// The words of a command: its own, and of the options that all have in common those given.
Words Rounds::step(const std::string& command, const Words& own) const {
  Words words = {"--model", model_};
  words.insert(words.end(), own.begin(), own.end());
  const auto hand_on = [&](const char* name, const std::string& value) {
    words.insert(words.end(), {std::string("--") + name, value});
  };
  if (const auto file = options_.find<std::string>("config")) hand_on("config", *file);
  hand_on("log-level", options_.get<std::string>("log-level"));
  if (command == "assign") return words;
  for (const char* name : {"backend", "collectives", "precision", "memory-limit"})
    hand_on(name, options_.get<std::string>(name));
  for (const char* name : {"batch-tokens", "threads"})
    hand_on(name, std::to_string(options_.get<std::int64_t>(name)));
  if (options_.flag("allow-gpu-sharing")) words.push_back("--allow-gpu-sharing");
  return words;
}

Words Rounds::with_text(const std::string& command, Words own) const {
  own.push_back("--calibration");
  for (const std::string& file : options_.get<Words>("calibration")) own.push_back(file);
  own.insert(own.end(), {"--sequence-length", std::to_string(options_.get<std::int64_t>("sequence-length"))});
  if (command != "sensitivity") {
    own.insert(own.end(),
               {"--calibration-tokens", std::to_string(options_.get<std::int64_t>("calibration-tokens"))});
  }
  if (options_.flag("add-bos")) own.push_back("--add-bos");
  return step(command, own);
}

void Rounds::run_or_resume(Command command, Words words, const fs::path& output,
                           const fs::path& unfinished) const {
  if (exists(output)) return;
  words.insert(words.end(), {"--output", output.string()});
  if (exists(unfinished)) words.push_back("--resume");
  command(world_, words);
}

/// The budget as words.
Words target_words(const Options& options) {
  Words words;
  const SizeTarget target = target_of(options);
  if (target.level) words.insert(words.end(), {"--target-level", std::to_string(*target.level)});
  if (target.parameters) words.insert(words.end(), {"--target-params", std::to_string(*target.parameters)});
  if (target.sparsity) words.insert(words.end(), {"--target-sparsity", fmt::format("{}", *target.sparsity)});
  return words;
}

/// The next assignment of a database: the one of least predicted loss, or what a search from it finds.
fs::path Rounds::choose(const fs::path& folder, const fs::path& database) const {
  Words own = {"--database", database.string()};
  const Words target = target_words(options_);
  own.insert(own.end(), target.begin(), target.end());
  const auto generations = options_.get<std::int64_t>("generations");
  if (generations == 0) {
    const fs::path output = folder / "assignment.txt";
    run_or_resume(assign, step("assign", own), output, {});
    return output;
  }
  own.insert(own.end(), {"--generations", std::to_string(generations)});
  const fs::path run = folder / "search", best = run / "best.txt";
  // A search writes its best before its end, too.
  if (const fs::path ended = folder / "searched"; !exists(ended)) {
    Words words = with_text("search", own);
    words.insert(words.end(), {"--output", run.string()});
    if (exists(run / "checkpoint.h5")) words.push_back("--resume");
    search(world_, words);
    agree_at_root(world_, [&] { write_file_atomically(ended, ""); });
  }
  return best;
}

Pruned Rounds::measure(std::string name, const fs::path& folder, const fs::path& database,
                       const fs::path& assignment) const {
  Pruned pruned{std::move(name), database, assignment, 0, 0};
  const fs::path known = folder / (pruned.name + ".json");
  if (!exists(known)) {
    const auto precision = precision_of(options_);
    const auto model = open_model(world_, model_, database.string(), assignment.string(), precision);
    const auto dense = open_model(world_, model_, std::nullopt, std::nullopt, precision);
    SequenceRequest request;
    agree(world_, [&] {
      request.sequence_length =
          checked_sequence_length(options_.get<std::int64_t>("sequence-length"), model->config);
    });
    request.add_bos = options_.flag("add-bos");
    const TokenSet data = load_model_sequences(world_, paths_of(options_.get<Words>("held-out")),
                                               model->checkpoint->folder(), model->config, request);
    const ModelSource source = agree_on(world_, [&] { return model->source(context_); });
    const ModelSource reference = agree_on(world_, [&] { return dense->source(context_); });
    const Evaluation found =
        summarise(score_sequences(world_, context_, source, &reference, data, read_evaluation(options_)));
    agree_at_root(world_, [&] {
      if (found.tokens == 0)
        throw InputError("no sequence of two tokens or more", "--held-out", "give a longer text");
      Json json;
      json["kl"] = found.kl;
      json["perplexity"] = found.perplexity();
      json["tokens"] = found.tokens;
      write_file_atomically(known, json.dump(2) + "\n");
    });
  }
  agree(world_, [&] {
    const Json json = parse_json(read_file(known), known.string());
    pruned.kl = json.at("kl").get<double>();
    pruned.perplexity = json.at("perplexity").get<double>();
  });
  log_info("{}: held-out KL {:.4f}, perplexity {:.3f}", pruned.name, pruned.kl, pruned.perplexity);
  return pruned;
}

Pruned Rounds::first_round() const {
  const fs::path folder = output_ / "round-0", sensitivities = folder / "sensitivity.h5",
                 levels = folder / "database.h5";
  agree_at_root(world_, [&] { fs::create_directories(folder); });
  run_or_resume(sensitivity, with_text("sensitivity", {}), sensitivities, part_path(sensitivities));
  run_or_resume(database, with_text("database", {"--sensitivity", sensitivities.string()}), levels,
                part_path(levels));
  return measure("round-0", folder, levels, choose(folder, levels));
}

/// The path's own assignment in the database made on it, and the one chosen there.
std::vector<Pruned> Rounds::next_round(std::int64_t round, const Pruned& path) const {
  const std::string name = fmt::format("round-{}", round);
  const fs::path folder = output_ / name, sensitivities = folder / "sensitivity.h5",
                 levels = folder / "database.h5";
  agree_at_root(world_, [&] { fs::create_directories(folder); });
  run_or_resume(sensitivity,
                with_text("sensitivity",
                          {"--database", path.database.string(), "--assignment", path.assignment.string()}),
                sensitivities, part_path(sensitivities));
  Words own = {"--sensitivity", sensitivities.string(), "--path", path.assignment.string()};
  if (const auto& ridge = options_.get<std::string>("compensate"); ridge != "none")
    own.insert(own.end(), {"--compensate", ridge});
  run_or_resume(database, with_text("database", own), levels, part_path(levels));
  return {measure(name + "-path", folder, levels, path.assignment),
          measure(name, folder, levels, choose(folder, levels))};
}

void Rounds::conclude(const std::vector<Pruned>& all, const Pruned& best) const {
  std::string table = fmt::format("{:<16} {:>12} {:>12}\n", "", "held-out KL", "perplexity");
  for (const Pruned& pruned : all)
    table += fmt::format("{:<16} {:>12.4f} {:>12.3f}\n", pruned.name, pruned.kl, pruned.perplexity);
  table += fmt::format("best: {}; --database {} --assignment {}\n", best.name, best.database.string(),
                       (output_ / "best.txt").string());
  agree_at_root(world_, [&] {
    write_file_atomically(output_ / "best.txt", read_file(best.assignment));
    Json json;
    json["best"] = best.name;
    json["database"] = best.database.string();
    for (const Pruned& pruned : all)
      json["measured"].push_back(
          {{"name", pruned.name}, {"kl", pruned.kl}, {"perplexity", pruned.perplexity}});
    write_file_atomically(output_ / "rounds.json", json.dump(2) + "\n");
  });
  print(world_, table);
}

void Rounds::run() {
  std::vector<Pruned> all = {first_round()};
  Pruned best = all.front();
  for (std::int64_t round = 1; round <= options_.get<std::int64_t>("rounds"); ++round) {
    const std::vector<Pruned> found = next_round(round, best);
    all.insert(all.end(), found.begin(), found.end());
    const Pruned& better = found[0].kl < found[1].kl ? found[0] : found[1];
    if (!(better.kl < best.kl)) break;
    best = better;
  }
  conclude(all, best);
}

void check_rounds(const Options& options) {
  for (const char* name : {"model", "calibration", "held-out", "output"}) options.require(name);
  for (const char* name : {"rounds", "generations"}) {
    if (options.get<std::int64_t>(name) < 0)
      throw UsageError("a negative number", std::string("--") + name, "give 0 or more");
  }
  const SizeTarget target = target_of(options);
  if ((target.level ? 1 : 0) + (target.parameters ? 1 : 0) + (target.sparsity ? 1 : 0) != 1) {
    throw UsageError("not one target", "galapagos rounds",
                     "give one of --target-level, --target-params and --target-sparsity");
  }
  if (!options.flag("resume") && fs::exists(fs::path(options.get<std::string>("output")) / "round-0")) {
    throw InputError("there are rounds already", options.get<std::string>("output"),
                     "go on with --resume, or choose another --output");
  }
}

}  // namespace

void rounds(const Communicator& world, const Words& words) {
  Options options = declare_rounds();
  if (!begin(world, options, words)) return;
  agree(world, [&] { check_rounds(options); });
  Rounds(world, options).run();
}

}  // namespace galapagos::app
