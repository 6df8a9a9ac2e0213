#include "findings.hpp"

#include <algorithm>
#include <sstream>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos::storm {
namespace {

namespace fs = std::filesystem;

template <typename T>
void add(Hash64& hash, const std::vector<T>& values) {
  hash.add(std::as_bytes(std::span(values)));
}

std::string database(const fs::path& path) {
  const DatabaseReader reader(path);
  Hash64 hash;
  for (const ModuleId& module : reader.header().modules()) {
    reader.verify(module);
    add(hash, reader.order(module));
    add(hash, reader.loss(module));
    for (std::int64_t level = reader.header().first_stored();
         level < std::ssize(reader.header().removed(module)); ++level)
      add(hash, reader.level_bytes(module, level));
  }
  return hex64(hash.value());
}

std::string sensitivities(const fs::path& path) {
  const SensitivityReader reader(path);
  Hash64 hash;
  for (const ModuleId& module : reader.header().modules()) add(hash, reader.values(module));
  return hex64(hash.value());
}

std::string without(std::string text, const std::string& word) {
  for (std::size_t at = 0; (at = text.find(word)) != std::string::npos;) text.erase(at, word.size());
  return text;
}

std::string hdf5(const fs::path& path) {
  try {
    const bool of_sensitivities = Hdf5File::open(path).has_attribute("/", "kind");
    return of_sensitivities ? sensitivities(path) : database(path);
  } catch (const Error& error) {
    return without(error.what(), path.parent_path().string());
  }
}

/// Ranks tell of islands in any order.
std::string lines_without_times(const std::string& text) {
  std::istringstream lines(text);
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) {
    Json json = Json::parse(line, nullptr, false);
    if (json.is_object()) {
      for (const char* time : {"seconds", "elapsed", "tokens_per_second"}) json.erase(time);
      line = json.dump();
    }
    all.push_back(line);
  }
  std::sort(all.begin(), all.end());
  std::string joined;
  for (const std::string& line : all) joined += line + "\n";
  return joined;
}

bool passed_over(const std::string& name) {
  static const std::vector<std::string> records = {
      "manifest.json",          "bill.jsonl",   "config.ini", "checkpoint.h5",
      "checkpoint.previous.h5", "identity.json"};
  return std::find(records.begin(), records.end(), name) != records.end() ||
         name.find(".lock") != std::string::npos;  // of whoever was killed
}

std::string finding(const fs::path& file, const fs::path& folder) {
  const std::string extension = file.extension().string();
  if (extension == ".h5") return hdf5(file);
  const std::string text = read_file(file);
  if (extension == ".jsonl" || extension == ".csv")
    return hex64(Hash64().add(lines_without_times(text)).value());
  return hex64(Hash64().add(without(text, folder.string())).value());
}

}  // namespace

Findings findings_of(const fs::path& folder) {
  Findings found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && !passed_over(entry.path().filename().string()))
      found[fs::relative(entry.path(), folder).string()] = finding(entry.path(), folder);
  }
  return found;
}

std::string missing(const Findings& expected, const Findings& found) {
  for (const auto& [name, what] : expected) {
    if (!found.contains(name)) return "no " + name;
    if (found.at(name) != what) return name + " differs";
  }
  return "";
}

std::string difference(const Findings& expected, const Findings& found) {
  if (const std::string wrong = missing(expected, found); !wrong.empty()) return wrong;
  for (const auto& [name, what] : found) {
    if (!expected.contains(name)) return name + " is left over";
  }
  return "";
}

}  // namespace galapagos::storm
