#include "lenient.hpp"
#include "line_tail.hpp"
#include "search_files.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

namespace galapagos::report {
namespace {

namespace fs = std::filesystem;

template <typename Number>
std::optional<Number> read_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The fields of a line of a CSV file, which may stand in quotes.
std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"')
        fields.back() += line[++i];
      else
        quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += line[i];
    }
  }
  return fields;
}

/// "model.layers.3.mlp.experts.7.down_proj"
std::optional<Module> module_named(const std::string& name) {
  std::vector<std::string> words;
  std::istringstream text(name);
  for (std::string word; std::getline(text, word, '.');) words.push_back(word);
  const auto number_after = [&](const char* key) -> std::optional<std::int64_t> {
    const auto at = std::ranges::find(words, key);
    if (at == words.end() || at + 1 == words.end()) return std::nullopt;
    return read_number<std::int64_t>(*(at + 1));
  };
  const auto layer = number_after("layers");
  if (!layer || *layer < 0 || words.empty()) return std::nullopt;
  if (words.back() == "o_proj") return Module{*layer, Part::attention};
  if (words.back() != "down_proj") return std::nullopt;
  return Module{*layer, Part::ffn, number_after("experts").value_or(-1)};
}

std::map<Module, std::int16_t> read_assignment(const fs::path& path) {
  std::map<Module, std::int16_t> levels;
  std::istringstream lines(text_in(path));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string number = line.substr(colon + 1);
    number.erase(0, number.find_first_not_of(" \t"));
    while (!number.empty() && std::isspace(static_cast<unsigned char>(number.back())) != 0) number.pop_back();
    const auto module = module_named(line.substr(0, colon));
    const auto level = read_number<std::int16_t>(number);
    if (module && level && *level >= 0) levels[*module] = *level;
  }
  return levels;
}

/// In the order of `run.modules`, which the first assignment that there is fixes.
Levels in_order(RunData& run, const fs::path& path) {
  const std::map<Module, std::int16_t> found = read_assignment(path);
  if (run.modules.empty())
    for (const auto& [module, level] : found) run.modules.push_back(module);
  if (found.empty() || found.size() != run.modules.size()) return {};
  Levels levels;
  for (const Module& module : run.modules) {
    const auto at = found.find(module);
    if (at == found.end()) return {};
    levels.push_back(at->second);
  }
  return levels;
}

void read_learned(RunData& run) {
  run.learned.clear();
  Json json = parsed(text_in(run.folder / "levels.json"));
  if (json.is_array() && !json.empty()) json = Json(json.front());
  const Json* levels = member(json, "settled");
  if (levels == nullptr || !levels->is_array()) return;
  for (const Json& level : *levels) run.learned.push_back(level.is_number() ? level.get<double>() : unknown);
}

void read_front(RunData& run) {
  run.front.clear();
  bool heading = true;
  each_line(run.folder / "front.csv", [&](const std::string& line) {
    const std::vector<std::string> fields = fields_of(line);
    if (std::exchange(heading, false) || fields.size() < 4) return;
    FrontLine point;
    point.sparsity = read_number<double>(fields[0]).value_or(unknown);
    point.parameters = read_number<std::int64_t>(fields[1]).value_or(-1);
    point.fitness = read_number<double>(fields[2]).value_or(unknown);
    point.file = fields[3];
    if (fields.size() > 4) point.perplexity = read_number<double>(fields[4]).value_or(unknown);
    // Only a file of this folder.
    if (fs::path(point.file).filename() == point.file) point.levels = in_order(run, run.folder / point.file);
    run.front.push_back(std::move(point));
  });
}

void read_migrations(RunData& run) {
  run.migrations.clear();
  each_line(run.folder / "migrations.csv", [&](const std::string& line) {
    const std::vector<std::string> fields = fields_of(line);
    if (fields.size() != 4) return;
    const auto generation = read_number<std::int64_t>(fields[0]), from = read_number<std::int64_t>(fields[1]),
               to = read_number<std::int64_t>(fields[2]);
    if (generation && from && to)
      run.migrations.push_back({*generation, *from, *to, read_number<double>(fields[3]).value_or(unknown)});
  });
}

void read_watched(RunData& run) {
  run.watched.clear();
  each_line(run.folder / "watched.csv", [&](const std::string& line) {
    const std::vector<std::string> fields = fields_of(line);
    if (fields.size() != 4) return;
    const auto generation = read_number<std::int64_t>(fields[0]),
               island = read_number<std::int64_t>(fields[1]);
    const auto fitness = read_number<double>(fields[2]);
    if (generation && island && fitness) run.watched.push_back({*generation, *island, *fitness});
  });
}

void read_bill(RunData& run) {
  run.bill.clear();
  each_line(run.folder / "bill.jsonl", [&](const std::string& line) {
    const Json json = parsed(line);
    if (!json.is_object()) return;
    BillLine part;
    part.command = text_of(json, "command");
    part.ended = text_of(json, "ended");
    part.at = text_of(json, "at");
    part.seconds = number_of(json, "seconds");
    part.nodes = number_of(json, "nodes");
    part.ranks = number_of(json, "ranks");
    part.node_hours = number_of(json, "node_hours");
    part.gpus = number_of(json, "gpus");
    part.gpu_hours = number_of(json, "gpu_hours");
    part.joules = numbers_in(member(json, "joules"));
    run.bill.push_back(std::move(part));
  });
}

/// Members of members under "name.name"; lists are left out, as are the phases, which have a place of their
/// own.
void flatten(const Json& json, const std::string& prefix, RunData& run) {
  for (const auto& [name, value] : json.items()) {
    const std::string whole = prefix + name;
    if (value.is_number()) run.manifest_numbers.emplace_back(whole, value.get<double>());
    if (value.is_string()) run.manifest_texts.emplace_back(whole, value.get<std::string>());
    if (value.is_array())
      run.manifest_numbers.emplace_back(whole + ".count", static_cast<double>(value.size()));
    if (value.is_object() && whole != "phases" && prefix.empty()) flatten(value, whole + ".", run);
  }
}

}  // namespace

void read_options(RunData& run) {
  run.options.clear();
  std::istringstream lines(text_in(run.folder / "config.ini"));
  std::string source;
  bool first = true;
  for (std::string line; std::getline(lines, line); first = false) {
    const std::string head = "# galapagos ";
    if (first && line.starts_with(head)) {
      run.command = line.substr(head.size());
      continue;
    }
    if (line.starts_with("# ")) {
      source = line.substr(2);
      continue;
    }
    const std::size_t equal = line.find(" = ");
    if (equal == std::string::npos) continue;
    const std::string name = line.substr(0, equal), value = line.substr(equal + 3);
    // The words of a list stand on a line each.
    if (!run.options.empty() && run.options.back().name == name)
      run.options.back().value += " " + value;
    else
      run.options.push_back({name, value, source});
  }
}

void read_manifest(RunData& run) {
  const Json manifest = parsed(text_in(run.folder / "manifest.json"));
  run.has_manifest = manifest.is_object();
  run.manifest_numbers.clear();
  run.manifest_texts.clear();
  run.phases.clear();
  if (!run.has_manifest) return;
  flatten(manifest, "", run);
  if (const Json* phases = member(manifest, "phases"); phases != nullptr && phases->is_object()) {
    for (const auto& [name, phase] : phases->items())
      run.phases.push_back({name, number_of(phase, "min"), number_of(phase, "mean"), number_of(phase, "max"),
                            number_of(phase, "share")});
  }
  if (run.command.empty()) run.command = text_of(manifest, "command");
}

void read_results(RunData& run) {
  run.modules.clear();
  run.start = in_order(run, run.folder / "start.txt");
  run.best = in_order(run, run.folder / "best.txt");
  run.uniform = in_order(run, run.folder / "uniform.txt");
  read_learned(run);
  read_front(run);
  read_migrations(run);
  read_watched(run);
  read_bill(run);
}

}  // namespace galapagos::report
