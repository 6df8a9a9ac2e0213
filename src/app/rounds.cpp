#include "steps.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos::app {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

Options declare_rounds() {
  Options options("rounds",
                  "sensitivity, database and assignment again and again, each round on the path of the best "
                  "model so far, as "
                  "long as it gets better on text that none of them sees; the sections [sensitivity], "
                  "[database] and [search] of "
                  "--config FILE are for the steps");
  declare_steps(options, "text on which rounds are compared", "folder, with one for each round");
  declare_target(options);
  options.declared().add_options()("rounds", po::value<std::int64_t>()->default_value(3),
                                   "at most, after the first, which is on the unpruned model's path")(
      "compensate", po::value<std::string>()->default_value("auto"),
      "ridge of the databases' compensation, auto, or none")(
      "steps", po::value<std::int64_t>()->default_value(2),
      "by how many levels a module may change from one round to the next; 0: by any number")(
      "from", po::value<std::string>()->default_value("drawn"),
      "what rounds after the first measure sensitivities from: drawn or kl, see 'galapagos sensitivity'")(
      "generations", po::value<std::int64_t>()->default_value(0),
      "of a search in each round; 0: its start alone, the assignment of least predicted loss");
  declare_common(options, true);
  return options;
}

/// A database and an assignment of it, by their files, and what they lose on the held-out text.
struct Pruned {
  std::string name;
  fs::path database, assignment;
  HeldOut held_out = {};
};

Words search_words(const StepWords& words, Words own, const Options& options) {
  Words all = words.on_calibration(std::move(own), true);
  all.insert(all.end(), {"--generations", std::to_string(options.get<std::int64_t>("generations"))});
  words.add_target(all);
  return all;
}

/// Everything that decides what the rounds find.
std::string identity_of(const Options& options) {
  Json json = identity_of_steps(options);
  for (const char* name : {"compensate", "from"}) json[name] = options.get<std::string>(name);
  for (const char* name : {"generations", "steps"}) json[name] = options.get<std::int64_t>(name);
  return json.dump(2);
}

/// The steps of the rounds.
class Rounds {
 public:
  Rounds(const Communicator& world, const Options& options)
      : world_(world),
        options_(options),
        words_(options),
        context_(make_context(world, options)),
        model_(options.get<std::string>("model")),
        output_(options.get<std::string>("output")),
        steps_(world, options, "rounds") {}

  /// Collective.
  void run();

 private:
  Words of_model(Words own) const {
    own.insert(own.end(), {"--model", model_});
    return own;
  }
  Pruned first_round() const;
  std::vector<Pruned> next_round(std::int64_t round, const Pruned& path) const;
  fs::path choose(const fs::path& folder, const fs::path& database, const fs::path& near) const;
  fs::path least(const fs::path& output, const fs::path& database, const Words& more) const;
  bool same(const fs::path& one, const fs::path& other) const;
  Pruned measure(std::string name, const fs::path& folder, const fs::path& database,
                 const fs::path& assignment) const;
  void conclude(const std::vector<Pruned>& all, const Pruned& best) const;

  const Communicator& world_;
  const Options& options_;
  StepWords words_;
  ops::Context context_;
  std::string model_;
  fs::path output_;
  Steps steps_;
};

/// Writes the assignment of least predicted loss with further words of `assign`, unless it is there.
fs::path Rounds::least(const fs::path& output, const fs::path& database, const Words& more) const {
  if (steps_.exists(output)) return output;
  Words words = words_.quiet(of_model({"--database", database.string(), "--output", output.string()}));
  words_.add_target(words);
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
  if (const fs::path ended = folder / "searched"; !steps_.exists(ended)) {
    steps_.stop_where_asked();
    Words own = {"--database", database.string()};
    if (!near.empty()) own.insert(own.end(), {"--start", start.string()});
    Words words = steps_.with_limit(search_words(words_, of_model(own), options_));
    words.insert(words.end(), {"--output", run.string()});
    if (steps_.exists(run / "checkpoint.h5") || steps_.exists(run / "checkpoint.previous.h5"))
      words.push_back("--resume");
    search(world_, words);
    agree_at_root(world_, [&] { write_file_atomically(ended, ""); });
  }
  return best;
}

Pruned Rounds::measure(std::string name, const fs::path& folder, const fs::path& database,
                       const fs::path& assignment) const {
  const auto precision = precision_of(options_);
  const auto model = open_model(world_, model_, database.string(), assignment.string(), precision);
  const auto dense = open_model(world_, model_, std::nullopt, std::nullopt, precision);
  const HeldOut found =
      measure_held_out(steps_, context_, options_, *model, *dense, folder / (name + ".json"), name);
  return {std::move(name), database, assignment, found};
}

Pruned Rounds::first_round() const {
  const fs::path folder = output_ / "round-0", sensitivities = folder / "sensitivity.h5",
                 levels = folder / "database.h5";
  steps_.make_folder(folder);
  steps_.run_or_resume(sensitivity, steps_.with_limit(words_.on_calibration(of_model({}), false)),
                       sensitivities);
  steps_.run_or_resume(
      database,
      steps_.with_limit(words_.on_calibration(of_model({"--sensitivity", sensitivities.string()}), true)),
      levels);
  return measure("round-0", folder, levels, choose(folder, levels, {}));
}

/// The path's own assignment in the database made on it, and the one chosen there, the next path.
std::vector<Pruned> Rounds::next_round(std::int64_t round, const Pruned& path) const {
  const std::string name = fmt::format("round-{}", round);
  const fs::path folder = output_ / name, sensitivities = folder / "sensitivity.h5",
                 levels = folder / "database.h5";
  steps_.make_folder(folder);
  Words at_path = {"--database", path.database.string(), "--assignment", path.assignment.string()};
  if (from_divergence(options_)) at_path.insert(at_path.end(), {"--from", "kl", "--reference", model_});
  steps_.run_or_resume(sensitivity, steps_.with_limit(words_.on_calibration(of_model(at_path), false)),
                       sensitivities);
  Words own = {"--sensitivity", sensitivities.string(), "--path", path.assignment.string()};
  if (const auto& ridge = options_.get<std::string>("compensate"); ridge != "none")
    own.insert(own.end(), {"--compensate", ridge});
  steps_.run_or_resume(database, steps_.with_limit(words_.on_calibration(of_model(own), true)), levels);
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
    table += fmt::format("{:<16} {:>16} {:>12.4f} {:>12.3f}\n", pruned.name,
                         human_count(static_cast<std::uint64_t>(pruned.held_out.parameters)),
                         pruned.held_out.kl, pruned.held_out.perplexity);
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
                                  {"parameters", pruned.held_out.parameters},
                                  {"kl", pruned.held_out.kl},
                                  {"perplexity", pruned.held_out.perplexity}});
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
    const Pruned& better = found[0].held_out.kl < found[1].held_out.kl ? found[0] : found[1];
    if (!(better.held_out.kl < best.held_out.kl)) break;
    best = better;
    if (same(path.assignment, found[1].assignment)) break;
    // Weights favour the path that they were made on, so that a new assignment is not judged before its own.
    path = found[1];
  }
  conclude(all, best);
}

/// What a step would refuse only after hours. Reads no file but the configuration.
void check_steps(const Options& options, int ranks) {
  const StepWords words(options);
  Options sensitivity = declare_sensitivity(), database = declare_database(), search = declare_search();
  sensitivity.parse(words.on_calibration({}, false));
  check_options(read_sensitivity(sensitivity, ranks));
  database.parse(words.on_calibration({}, true));
  check_options(read_database(database));
  refuse_in_section(database, "database", {"path", "compensate", "sensitivity"});
  refuse_in_section(sensitivity, "sensitivity", {"database", "assignment", "from", "reference"});
  if (options.get<std::int64_t>("generations") == 0) return;
  search.parse(search_words(words, {}, options));
  refuse_in_section(search, "search", {"database"});
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
  check_target(options, "rounds", "--target-level, --target-params and --target-sparsity");
  if (const auto& ridge = options.get<std::string>("compensate"); ridge != "none")
    compensation_of(ridge, "--compensate");
  from_divergence(options);
  parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  check_steps(options, ranks);
}

}  // namespace

void rounds(const Communicator& world, const Words& words) {
  Options options = declare_rounds();
  if (!begin(world, options, words)) return;
  agree(world, [&] { check_rounds(options, world.size()); });
  Rounds all(world, options);
  agree_at_root(world, [&] {
    open_steps(options, identity_of(options), "run of rounds", {"round-0", "best.txt", "rounds.json"});
  });
  all.run();
}

}  // namespace galapagos::app
