#include "steps.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/search/run_folder.hpp>

namespace galapagos::app {
namespace fs = std::filesystem;
namespace {

struct RoundsRequest : StepsRequest {
  std::int64_t rounds = 3, steps = 2, generations = 0;
  std::string compensate = "auto";
  bool divergence = false;  ///< rounds after the first measure it
};

void bind(Options& list, RoundsRequest& request) {
  list.describe(
      "rounds",
      "sensitivity, database and assignment again and again, each round on the path of the best model so "
      "far, as long as it gets better on text that none of them sees; the sections [sensitivity], "
      "[database] and [search] of --config FILE are for the steps");
  bind_steps(list, request, "text on which rounds are compared", "folder, with one for each round", true);
  bind(list, request.target);
  const auto number = [&](const char* name, std::int64_t& member, const char* help, bool decides) {
    list.add(name, member, help,
             {.least = 0, .refusal = "a negative number", .remedy = "give 0 or more", .decides = decides});
  };
  number("rounds", request.rounds, "at most, after the first, which is on the unpruned model's path", false);
  list.add("compensate", request.compensate, "ridge of the databases' compensation, auto, or none",
           {.decides = true});
  number("steps", request.steps,
         "by how many levels a module may change from one round to the next; 0: by any number", true);
  list.add_choice(
      "from", request.divergence, "word", {{"drawn", false}, {"kl", true}},
      "what rounds after the first measure sensitivities from: drawn or kl, see 'galapagos sensitivity'",
      {.decides = true});
  number("generations", request.generations,
         "of a search in each round; 0: its start alone, the assignment of least predicted loss", true);
  bind_computing(list, request);
}

/// A database and an assignment of it, by their files, and what they lose on the held-out text.
struct Pruned {
  std::string name;
  fs::path database, assignment;
  HeldOut held_out = {};
};

Words search_words(const StepWords& words, Words own, const RoundsRequest& request) {
  Words all = words.on_calibration(std::move(own), true);
  all.insert(all.end(), {"--generations", std::to_string(request.generations)});
  words.add_target(all);
  return all;
}

/// The steps of the rounds.
class Rounds {
 public:
  Rounds(const Communicator& world, const Asked<RoundsRequest>& asked)
      : world_(world),
        request_(asked.request),
        words_(asked.options),
        context_(make_context(world, request_)),
        model_(request_.model.string()),
        output_(request_.output),
        steps_(world, request_, "rounds") {}

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
  const RoundsRequest& request_;
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
  if (!near.empty() && request_.steps > 0)
    within = {"--near", near.string(), "--steps", std::to_string(request_.steps)};
  const fs::path start = least(folder / "assignment.txt", database, within);
  if (request_.generations == 0) return start;
  const fs::path run = folder / "search", best = run / "best.txt";
  // A search writes its best before its end, too.
  if (const fs::path ended = folder / "searched"; !steps_.exists(ended)) {
    steps_.stop_where_asked();
    Words own = {"--database", database.string()};
    if (!near.empty()) own.insert(own.end(), {"--start", start.string()});
    Words words = steps_.with_limit(search_words(words_, of_model(own), request_));
    words.insert(words.end(), {"--output", run.string(), "--resume", "auto"});
    search(world_, words);
    agree_at_root(world_, [&] { write_file_atomically(ended, ""); });
  }
  return best;
}

Pruned Rounds::measure(std::string name, const fs::path& folder, const fs::path& database,
                       const fs::path& assignment) const {
  const auto model = open_model(world_, model_, database, assignment, request_.precision);
  const auto dense = open_model(world_, model_, std::nullopt, std::nullopt, request_.precision);
  const HeldOut found =
      measure_held_out(steps_, context_, request_, *model, *dense, folder / (name + ".json"), name);
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
  if (request_.divergence) at_path.insert(at_path.end(), {"--from", "kl", "--reference", model_});
  steps_.run_or_resume(sensitivity, steps_.with_limit(words_.on_calibration(of_model(at_path), false)),
                       sensitivities);
  Words own = {"--sensitivity", sensitivities.string(), "--path", path.assignment.string()};
  if (request_.compensate != "none") own.insert(own.end(), {"--compensate", request_.compensate});
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
  for (std::int64_t round = 1; round <= request_.rounds; ++round) {
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
void check_steps(const Asked<RoundsRequest>& asked, int ranks) {
  const RoundsRequest& request = asked.request;
  const StepWords words(asked.options);
  Asked<SensitivityOptions> sensitivity;
  Asked<DatabaseOptions> database;
  sensitivity.options.parse(words.on_calibration({}, false));
  check_options(sensitivity.read(ranks));
  database.options.parse(words.on_calibration({}, true));
  check_options(database.read(ranks));
  refuse_in_section(database.options, "database", {"path", "compensate", "sensitivity"});
  refuse_in_section(sensitivity.options, "sensitivity", {"database", "assignment", "from", "reference"});
  if (request.generations == 0) return;
  Asked<SearchOptions> search;
  search.options.parse(search_words(words, {}, request));
  refuse_in_section(search.options, "search", {"database"});
  resolve(search.read(ranks));
  if (search.request.target != request.target)
    throw UsageError("the rounds' target is that of the searches", "[search]", "leave targets out there");
}

OwnFiles files_of_rounds() {
  OwnFiles files = {"identity.json*", "rounds.json*", "best.txt*", "bill.jsonl*"}, round = step_files();
  const OwnFiles search = below("search", search_files());
  round.insert(round.end(), search.begin(), search.end());
  round.insert(round.end(), {"searched*", "search.lock*"});
  const OwnFiles all = below("round-*", round);
  files.insert(files.end(), all.begin(), all.end());
  return files;
}

void check_rounds(const Asked<RoundsRequest>& asked, int ranks) {
  const RoundsRequest& request = asked.request;
  check_target(request.target);
  if (request.target.experts != ExpertTie::free)
    throw UsageError("rounds are of models without experts", "--experts", "leave it out");
  const HfConfig config = read_hf_config(request.model);
  refuse_mixture(config, "rounds", "rounds", "give database, search and stitch by themselves");
  if (request.divergence) check_reaches_stream(config, "--from kl", "leave it out");
  if (request.compensate != "none") {
    compensation_of(request.compensate, "--compensate");
    check_reaches_stream(config, "--compensate", "give --compensate none");
  }
  check_steps(asked, ranks);
}

}  // namespace

void rounds(const Communicator& world, const Words& words) {
  Asked<RoundsRequest> asked;
  if (!begin(world, asked, words)) return;
  agree(world, [&] { check_rounds(asked, world.size()); });
  Rounds all(world, asked);
  std::optional<OutputLock> lock;
  agree_at_root(world, [&] {
    lock.emplace(asked.request.output, true);
    open_steps(
        asked.request, identity_of_steps(asked.options),
        {"run of rounds", "compensate", {"round-0", "best.txt", "rounds.json"}, "", files_of_rounds()});
  });
  all.run();
}

}  // namespace galapagos::app
