#include "archive_file.hpp"
#include "candidate_lines.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sstream>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/search/run_folder.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t format_version = 4;
constexpr std::uint64_t most_values = 1ull << 28;
constexpr std::uint64_t most_identity_bytes = 64 << 20;
constexpr const char* migrations_header = "generation,from,to,fitness\n";

/// All islands' states as flat arrays.
struct Flat {
  std::vector<std::int32_t> levels;                                        // [all elites, modules]
  std::vector<double> fitness;                                             // [all elites]
  std::vector<std::int64_t> elites, evaluations, tokens, training_tokens;  // [islands]
  std::vector<double> ranks;  // [islands, both, first and second of RankSums, again of the surrogate's]
  std::vector<std::int64_t> ranked;    // [islands]
  std::vector<double> memory;          // of all islands, one after the other
  std::vector<std::int64_t> memories;  // [islands], how many of them
};

Flat flatten(const Population& population) {
  Flat flat;
  for (const IslandState& island : population.islands) {
    flat.elites.push_back(static_cast<std::int64_t>(island.elites.size()));
    flat.evaluations.push_back(island.evaluations);
    flat.tokens.push_back(island.tokens);
    flat.training_tokens.push_back(island.training_tokens);
    for (const RankSums& ranks : {island.ranks, island.surrogate_ranks})
      flat.ranks.insert(flat.ranks.end(), {ranks.both, ranks.first, ranks.second});
    flat.ranked.push_back(island.ranks.count);
    flat.memory.insert(flat.memory.end(), island.memory.begin(), island.memory.end());
    flat.memories.push_back(std::ssize(island.memory));
    for (const Candidate& elite : island.elites) {
      flat.levels.insert(flat.levels.end(), elite.assignment.begin(), elite.assignment.end());
      flat.fitness.push_back(elite.fitness);
    }
  }
  return flat;
}

Population unflatten(const Flat& flat, const SearchSpace& space, std::int64_t generation,
                     const std::string& path) {
  const auto fail = [&] { throw InputError("the checkpoint is damaged", path, "begin the search anew"); };
  const std::size_t modules = space.modules.size();
  Population population;
  population.generation = generation;
  std::size_t next = 0, remembered = 0;
  for (const auto* counts :
       {&flat.evaluations, &flat.tokens, &flat.training_tokens, &flat.ranked, &flat.memories}) {
    if (counts->size() != flat.elites.size()) fail();
  }
  if (flat.ranks.size() != 6 * flat.elites.size()) fail();
  for (std::size_t i = 0; i < flat.elites.size(); ++i) {
    IslandState island;
    island.evaluations = flat.evaluations[i];
    island.tokens = flat.tokens[i];
    island.training_tokens = flat.training_tokens[i];
    const double* ranks = flat.ranks.data() + 6 * i;
    island.ranks = {ranks[0], ranks[1], ranks[2], flat.ranked[i]};
    island.surrogate_ranks = {ranks[3], ranks[4], ranks[5], flat.ranked[i]};
    if (flat.elites[i] < 1 || static_cast<std::size_t>(flat.elites[i]) > flat.fitness.size() - next) fail();
    for (std::int64_t e = 0; e < flat.elites[i]; ++e, ++next) {
      Candidate elite;
      elite.fitness = flat.fitness[next];
      if ((next + 1) * modules > flat.levels.size()) fail();
      for (std::size_t m = 0; m < modules; ++m) {
        const std::int32_t level = flat.levels[next * modules + m];
        if (level < 0 || level > space.modules[m].last()) fail();
        elite.assignment.push_back(static_cast<std::int16_t>(level));
      }
      island.elites.push_back(std::move(elite));
    }
    const auto memory = static_cast<std::size_t>(flat.memories[i]);
    if (flat.memories[i] < 0 || memory > flat.memory.size() - remembered) fail();
    const double* from = flat.memory.data() + std::exchange(remembered, remembered + memory);
    island.memory.assign(from, from + memory);
    population.islands.push_back(std::move(island));
  }
  if (next != flat.fitness.size() || flat.levels.size() != next * modules) fail();
  return population;
}

SearchCheckpoint read_checkpoint(const fs::path& path, const SearchSpace& space) {
  const Hdf5File file = Hdf5File::open(path);
  if (file.read_integer("/", "format_version") != format_version) {
    throw InputError("a checkpoint of another version", path.string(),
                     "use the version of Galapagos that made it");
  }
  Flat flat;
  flat.levels = file.read_values<std::int32_t>("/levels", Hdf5Type::i32, most_values);
  flat.fitness = file.read_values<double>("/fitness", Hdf5Type::f64, most_values);
  flat.elites = file.read_values<std::int64_t>("/elites", Hdf5Type::i64, most_values);
  flat.evaluations = file.read_values<std::int64_t>("/evaluations", Hdf5Type::i64, most_values);
  flat.tokens = file.read_values<std::int64_t>("/tokens", Hdf5Type::i64, most_values);
  flat.training_tokens = file.read_values<std::int64_t>("/training_tokens", Hdf5Type::i64, most_values);
  flat.ranks = file.read_values<double>("/ranks", Hdf5Type::f64, most_values);
  flat.ranked = file.read_values<std::int64_t>("/ranked", Hdf5Type::i64, most_values);
  flat.memories.resize(flat.elites.size());
  if (file.has("/memories")) {
    flat.memory = file.read_values<double>("/memory", Hdf5Type::f64, most_values);
    flat.memories = file.read_values<std::int64_t>("/memories", Hdf5Type::i64, most_values);
  }
  SearchCheckpoint checkpoint;
  const auto identity = file.read_values<std::uint8_t>("/identity", Hdf5Type::u8, most_identity_bytes);
  checkpoint.identity.assign(identity.begin(), identity.end());
  checkpoint.seconds = file.read_double("/", "seconds");
  checkpoint.population = unflatten(flat, space, file.read_integer("/", "generation"), path.string());
  read_archive(file, path.string(), space, checkpoint.population);
  return checkpoint;
}

}  // namespace

OwnFiles search_files() {
  return {"config.ini*",     "manifest.json*", "metrics.jsonl*", "candidates.jsonl*", "migrations.csv*",
          "checkpoint*.h5*", "best.txt*",      "uniform.txt*",   "start.txt*",        "levels.json*",
          "archive.jsonl*",  "best-*.txt*",    "front.csv*"};
}

Found RunFolder::found() const {
  check_command_of_run(path_, "search");
  if (fs::exists(path_ / "checkpoint.h5") || fs::exists(path_ / "checkpoint.previous.h5"))
    return fs::exists(path_ / "manifest.json") ? Found::complete : Found::unfinished;
  if (fs::exists(path_ / "metrics.jsonl")) {
    throw InputError("there is something of another run already", (path_ / "metrics.jsonl").string(),
                     "choose another --output");
  }
  return Found::nothing;
}

bool RunFolder::ended_after(std::int64_t generations) const {
  const fs::path path = path_ / "manifest.json";
  if (!fs::exists(path)) return false;
  const Json manifest = Json::parse(read_file(path), nullptr, false);
  return manifest.is_object() && manifest.contains("phases") && manifest.contains("generations") &&
         manifest["generations"] == generations;
}

void RunFolder::clear(bool only_check) const {
  clear_run(path_, "search", search_files(), only_check);
}

void RunFolder::begin(const std::string& config_ini) const {
  check_found(Resume::no, found(), "search", path_.string());
  make_folders(path_);
  for (const char* name : {"levels.json", "archive.jsonl"})  // of a search that was not removed as a whole
    fs::remove(path_ / name);
  write_file_atomically(path_ / "config.ini", config_ini);
  write_file_atomically(path_ / "migrations.csv", migrations_header);
}

SearchCheckpoint RunFolder::resume(const SearchSpace& space, const std::string& identity,
                                   std::int64_t islands) const {
  const fs::path last = path_ / "checkpoint.h5", previous = path_ / "checkpoint.previous.h5";
  check_found(Resume::yes, found(), "search", path_.string());
  SearchCheckpoint checkpoint;
  try {
    checkpoint = read_checkpoint(fs::exists(last) ? last : previous, space);
  } catch (const InputError&) {
    if (!fs::exists(last) || !fs::exists(previous)) {
      throw InputError("the checkpoint cannot be read", path_.string(), "begin the search anew");
    }
    log_warning("{}: going on from the checkpoint before", last.string());
    checkpoint = read_checkpoint(previous, space);
  }
  // Version 0.1.0 had numbers for them.
  const FormerNumber former[] = {{"topology", {"ring", "complete", "star", "random", "none", "matrix"}},
                                 {"fitness", {"kl", "sparse_kl", "ppl", "nll"}}};
  check_identity(checkpoint.identity, identity, "search", path_.string(), former);
  if (static_cast<std::int64_t>(checkpoint.population.islands.size()) != islands ||
      checkpoint.population.generation < 0) {
    throw InputError("the checkpoint is damaged", path_.string(), "begin the search anew");
  }
  return checkpoint;
}

void RunFolder::rewind(std::int64_t generation) const {
  for (const char* name : {"metrics.jsonl", "candidates.jsonl"}) {
    filter_lines(path_ / name, [&](const std::string& line) {
      const Json json = Json::parse(line, nullptr, false);  // a half-written last line is dropped
      // The comparison of the last generation is made again.
      return json.is_object() && json.contains("generation") && json["generation"].is_number_integer() &&
             (json["generation"] < generation ||
              (json["generation"] == generation && json.contains("island")));
    });
  }
  filter_lines(path_ / "migrations.csv", [&](const std::string& line) {
    return line + "\n" == migrations_header ||
           (std::count(line.begin(), line.end(), ',') == 3 && std::atoll(line.c_str()) <= generation);
  });
}

void RunFolder::save(const SearchCheckpoint& checkpoint) const {
  const fs::path last = path_ / "checkpoint.h5", part = part_path(last);
  const Flat flat = flatten(checkpoint.population);
  Hdf5File file = Hdf5File::create(part);
  const auto write = [&](const char* name, Hdf5Type type, const auto& values) {
    file.create_dataset(name, type, {values.size()});
    file.write_values(name, type, values);
  };
  write("/levels", Hdf5Type::i32, flat.levels);
  write("/fitness", Hdf5Type::f64, flat.fitness);
  write("/elites", Hdf5Type::i64, flat.elites);
  write("/evaluations", Hdf5Type::i64, flat.evaluations);
  write("/tokens", Hdf5Type::i64, flat.tokens);
  write("/training_tokens", Hdf5Type::i64, flat.training_tokens);
  write("/ranks", Hdf5Type::f64, flat.ranks);
  write("/ranked", Hdf5Type::i64, flat.ranked);
  if (!flat.memory.empty()) {
    write("/memory", Hdf5Type::f64, flat.memory);
    write("/memories", Hdf5Type::i64, flat.memories);
  }
  write("/identity", Hdf5Type::u8,
        std::vector<std::uint8_t>(checkpoint.identity.begin(), checkpoint.identity.end()));
  write_archive(file, checkpoint.population);
  file.write_attribute("/", "format_version", format_version);
  file.write_attribute("/", "generation", checkpoint.population.generation);
  file.write_attribute("/", "seconds", checkpoint.seconds);
  file.close();
  if (fs::exists(last)) fs::rename(last, path_ / "checkpoint.previous.h5");
  publish_file(part, last);
}

void RunFolder::append_metrics(const std::vector<Json>& lines) const {
  std::string text;
  for (const Json& line : lines) text += line.dump() + "\n";
  append_text(path_ / "metrics.jsonl", text);
}

void RunFolder::append_candidates(const SearchSpace& space, const Population& population) const {
  append_text(path_ / "candidates.jsonl", candidate_lines(space, population));
}

void RunFolder::append_migrations(const Population& population, std::span<const Migration> migrations) const {
  std::string text;
  for (const Migration& migration : migrations) {
    const auto& elites = population.islands[static_cast<std::size_t>(migration.from)].elites;
    for (std::size_t i = 0; i < std::min(elites.size(), static_cast<std::size_t>(migration.count)); ++i) {
      text += fmt::format("{},{},{},{}\n", population.generation, migration.from, migration.to,
                          elites[i].fitness);
    }
  }
  if (!text.empty()) append_text(path_ / "migrations.csv", text);
}

void RunFolder::append_archive(const std::string& lines) const {
  append_text(path_ / "archive.jsonl", lines);
}

std::string RunFolder::read_archive() const {
  const fs::path path = path_ / "archive.jsonl";
  return fs::exists(path) ? read_file(path) : "";
}

void RunFolder::mend_races() const {
  for (const char* name : {"archive.jsonl", "metrics.jsonl"}) {
    filter_lines(path_ / name, [](const std::string& line) {
      const Json json = Json::parse(line, nullptr, false);
      return json.is_object() && json.contains("island");
    });
  }
}

std::set<std::pair<std::int64_t, std::int64_t>> RunFolder::told() const {
  std::set<std::pair<std::int64_t, std::int64_t>> told;
  const fs::path path = path_ / "metrics.jsonl";
  if (!fs::exists(path)) return told;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("island") && json.contains("generation"))
      told.emplace(json["island"].get<std::int64_t>(), json["generation"].get<std::int64_t>());
  }
  return told;
}

void RunFolder::append_migration(const Migration& migration, std::int64_t generation, double fitness) const {
  append_text(path_ / "migrations.csv",
              fmt::format("{},{},{},{}\n", generation, migration.from, migration.to, fitness));
}

void RunFolder::write_best(const std::string& text) const {
  write_file_atomically(path_ / "best.txt", text);
}

void RunFolder::write_text(const std::string& name, const std::string& text) const {
  write_file_atomically(path_ / name, text);
}

void RunFolder::write_uniform(const std::string& text) const {
  write_file_atomically(path_ / "uniform.txt", text);
}

void RunFolder::write_start(const std::string& text) const {
  write_file_atomically(path_ / "start.txt", text);
}

void RunFolder::write_levels(const std::string& text) const {
  write_file_atomically(path_ / "levels.json", text + "\n");
}

std::string RunFolder::read_levels() const {
  const fs::path path = path_ / "levels.json";
  return fs::exists(path) ? read_file(path) : "";
}

void RunFolder::write_manifest(const Json& manifest) const {
  write_file_atomically(path_ / "manifest.json", manifest.dump(2) + "\n");
}

}  // namespace galapagos
