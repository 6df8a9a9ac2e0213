#include "candidate_lines.hpp"
#include "checkpoint_file.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fmt/format.h>
#include <map>
#include <sstream>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/search/run_folder.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr const char* migrations_header = "generation,from,to,fitness\n";
constexpr const char* watched_header = "generation,island,fitness,tokens\n";

/// Generation and number of an island from a line of four values; nothing where it is another.
std::optional<std::pair<std::int64_t, std::int64_t>> numbers_of(const std::string& line) {
  std::int64_t generation = 0, island = 0;
  if (std::count(line.begin(), line.end(), ',') != 3 ||
      std::sscanf(line.c_str(), "%" SCNd64 ",%" SCNd64 ",", &generation, &island) != 2)
    return std::nullopt;
  return std::pair(island, generation);
}

}  // namespace

OwnFiles search_files() {
  return {"config.ini*",     "manifest.json*", "metrics.jsonl*", "candidates.jsonl*", "migrations.csv*",
          "checkpoint*.h5*", "best.txt*",      "uniform.txt*",   "start.txt*",        "levels.json*",
          "archive.jsonl*",  "best-*.txt*",    "front.csv*",     "choices.jsonl*",    "watched.csv*",
          "latency.csv*",    "bill.jsonl*"};
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
  for (const char* name : {"levels.json", "archive.jsonl", "watched.csv", "choices.jsonl",
                           "latency.csv"})  // of a search that was not removed as a whole
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
  write_checkpoint(part, checkpoint);
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

std::string RunFolder::read_text(const std::string& name) const {
  const fs::path path = path_ / name;
  return fs::exists(path) ? read_file(path) : "";
}

void RunFolder::append_archive(const std::string& lines) const {
  append_text(path_ / "archive.jsonl", lines);
}

std::string RunFolder::read_archive() const {
  return read_text("archive.jsonl");
}

void RunFolder::mend_races(std::int64_t lag) const {
  for (const char* name : {"archive.jsonl", "metrics.jsonl"}) {
    filter_lines(path_ / name, [](const std::string& line) {
      const Json json = Json::parse(line, nullptr, false);
      const bool whole = json.is_object() && json.contains("island") && json.contains("generation");
      return whole || (json.is_object() && json.contains("archive"));
    });
  }
  std::map<std::int64_t, std::int64_t> last;
  for (const auto& [island, generation] : told()) last[island] = std::max(last[island], generation);
  filter_lines(path_ / "metrics.jsonl", [&](const std::string& line) {
    const Json json = Json::parse(line);
    return json["generation"].get<std::int64_t>() <= last[json["island"].get<std::int64_t>()] - lag;
  });
  const auto kept = told();
  const auto stays = [&](const std::string& line) {
    const auto numbers = numbers_of(line);
    return line + "\n" == migrations_header || line + "\n" == watched_header ||
           (numbers && kept.contains(*numbers));
  };
  for (const char* name : {"migrations.csv", "watched.csv"}) filter_lines(path_ / name, stays);
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

void RunFolder::append_watched(std::int64_t island, std::int64_t generation, double fitness,
                               std::int64_t tokens) const {
  const fs::path path = path_ / "watched.csv";
  append_text(path, fmt::format("{}{},{},{},{}\n", fs::exists(path) ? "" : watched_header, generation, island,
                                fitness, tokens));
}

std::set<std::pair<std::int64_t, std::int64_t>> RunFolder::watched() const {
  std::set<std::pair<std::int64_t, std::int64_t>> watched;
  const fs::path path = path_ / "watched.csv";
  if (!fs::exists(path)) return watched;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    if (const auto numbers = numbers_of(line)) watched.insert(*numbers);
  }
  return watched;
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
