#include "line_tail.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <set>
#include <sstream>
#include <tuple>

#include <galapagos/report/study.hpp>

namespace galapagos::report {
namespace {

double number_in(const std::map<std::string, std::string>& row, const char* name) {
  const auto found = row.find(name);
  double value = unknown;
  if (found == row.end()) return value;
  const std::string& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : unknown;
}

std::int64_t integer_in(const std::map<std::string, std::string>& row, const char* name,
                        std::int64_t otherwise) {
  const double value = number_in(row, name);
  return std::isfinite(value) && std::abs(value) < 1e15 ? static_cast<std::int64_t>(value) : otherwise;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream text(line);
  for (std::string field; std::getline(text, field, ',');) fields.push_back(field);
  return fields;
}

bool sound(const StudyRow& row) {
  return row.ranks > 0 && row.shards > 0 && row.evaluations > 0 && row.seconds > 0;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// Series of those groups that have more than one number of ranks.
template <typename Key, typename KeyOf, typename NameOf>
std::vector<ScalingSeries> scaling(const std::vector<StudyRow>& rows, const KeyOf& key_of,
                                   const NameOf& name_of) {
  std::map<Key, std::map<std::int64_t, std::vector<double>>> groups;
  for (const StudyRow& row : rows) groups[key_of(row)][row.ranks].push_back(row.cost());
  std::vector<ScalingSeries> found;
  for (const auto& [key, by_ranks] : groups) {
    if (by_ranks.size() < 2) continue;
    ScalingSeries series{name_of(key), {}};
    const double first = mean(by_ranks.begin()->second);
    for (const auto& [ranks, costs] : by_ranks)
      series.points.push_back({ranks, mean(costs) / static_cast<double>(ranks), first / mean(costs)});
    found.push_back(std::move(series));
  }
  return found;
}

std::string with_shards(std::string name, std::int64_t shards) {
  return shards == 1 ? name : fmt::format("{}, {} shards", name, shards);
}

}  // namespace

std::vector<StudyRow> read_study(const std::filesystem::path& file) {
  std::vector<StudyRow> rows;
  std::vector<std::string> names;
  each_line(file, [&](const std::string& line) {
    const std::vector<std::string> fields = split(line);
    if (names.empty()) {
      names = fields;
      return;
    }
    std::map<std::string, std::string> of;
    for (std::size_t i = 0; i < std::min(names.size(), fields.size()); ++i) of[names[i]] = fields[i];
    StudyRow row;
    row.run = of["run"];
    row.strategy = of["strategy"];
    row.islands = integer_in(of, "islands", 0);
    row.offspring = integer_in(of, "offspring", 0);
    row.ranks = integer_in(of, "ranks", 0);
    row.shards = integer_in(of, "shards", 1);
    row.seed = integer_in(of, "seed", 0);
    row.evaluations = integer_in(of, "evaluations", 0);
    row.seconds = number_in(of, "seconds");
    row.node_hours = number_in(of, "node_hours");
    row.fitness = number_in(of, "own_best");
    row.held_out = number_in(of, "held_out_kl");
    row.diversity = number_in(of, "diversity");
    row.waiting = number_in(of, "waiting");
    if (sound(row)) rows.push_back(std::move(row));
  });
  return rows;
}

std::vector<StudyRow> study_of(const std::vector<RunData>& runs) {
  std::vector<StudyRow> rows;
  for (const RunData& run : runs) {
    if (run.command != "search" || !run.ended()) continue;
    const auto whole = [&](const char* name, std::int64_t otherwise) {
      const double value = run.manifest_number(name);
      return std::abs(value) < 1e15 ? static_cast<std::int64_t>(value) : otherwise;
    };
    StudyRow row;
    row.run = run.name;
    row.strategy = run.manifest_text("strategy");
    row.islands = whole("islands", 0);
    row.offspring = whole("options.offspring", 0);
    row.ranks = whole("ranks", 0);
    row.shards = whole("shards", 1);
    row.seed = whole("seed", 0);
    row.evaluations = whole("evaluations", 0);
    row.seconds = run.manifest_number("seconds");
    row.node_hours = run.node_hours();
    row.fitness = run.manifest_number("best.fitness");
    for (const PhaseLine& phase : run.phases)
      if (phase.name == "waiting") row.waiting = phase.share;
    if (const auto apart = diversity_of(run); !apart.empty()) row.diversity = apart.back().second;
    if (sound(row)) rows.push_back(std::move(row));
  }
  return rows;
}

bool is_study(const std::vector<StudyRow>& rows) {
  constexpr std::size_t populations_enough = 3;
  std::map<std::string, std::set<std::int64_t>> populations;
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>,
           std::set<std::pair<std::int64_t, std::int64_t>>>
      ways;
  for (const StudyRow& row : rows) {
    populations[row.strategy].insert(row.population());
    ways[{row.strategy, row.islands, row.offspring}].insert({row.ranks, row.shards});
  }
  return std::ranges::any_of(ways, [](const auto& way) { return way.second.size() > 1; }) ||
         std::ranges::any_of(populations,
                             [](const auto& some) { return some.second.size() >= populations_enough; });
}

namespace {

/// All but the ranks.
auto search_of(const StudyRow& row) {
  return std::tie(row.strategy, row.islands, row.offspring, row.shards, row.seed, row.evaluations);
}

}  // namespace

std::vector<std::vector<std::string>> differing_results(const std::vector<StudyRow>& rows) {
  std::vector<std::vector<std::string>> found;
  for (const StudyRow& first : on_fewest_ranks(rows)) {
    std::vector<std::string> names = {first.run};
    for (const StudyRow& row : rows)
      if (search_of(row) == search_of(first) && row.fitness != first.fitness && !std::isnan(row.fitness))
        names.push_back(row.run);
    if (names.size() > 1) found.push_back(std::move(names));
  }
  return found;
}

std::vector<StudyRow> on_fewest_ranks(std::vector<StudyRow> rows) {
  std::ranges::stable_sort(rows, {}, &StudyRow::ranks);
  std::vector<StudyRow> found;
  for (const StudyRow& row : rows) {
    const auto same = [&](const StudyRow& other) { return search_of(row) == search_of(other); };
    if (std::ranges::none_of(found, same)) found.push_back(row);
  }
  return found;
}

std::vector<ScalingSeries> strong_scaling(const std::vector<StudyRow>& rows) {
  using Key = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t>;
  return scaling<Key>(
      rows, [](const StudyRow& row) { return Key(row.strategy, row.islands, row.offspring, row.shards); },
      [](const Key& key) {
        const auto& [strategy, islands, offspring, shards] = key;
        return with_shards(fmt::format("{} {} x {}", strategy, islands, offspring), shards);
      });
}

std::vector<ScalingSeries> weak_scaling(const std::vector<StudyRow>& rows) {
  // The population of a replica; only whole ones, so that work is dealt alike.
  using Key = std::tuple<std::string, std::int64_t, std::int64_t>;
  std::vector<StudyRow> even;
  for (const StudyRow& row : rows)
    if (row.population() > 0 && row.population() * row.shards % row.ranks == 0) even.push_back(row);
  return scaling<Key>(
      even,
      [](const StudyRow& row) {
        return Key(row.strategy, row.population() * row.shards / row.ranks, row.shards);
      },
      [](const Key& key) {
        const auto& [strategy, each, shards] = key;
        return with_shards(
            fmt::format("{}, {} offspring a {}", strategy, each, shards == 1 ? "rank" : "replica"), shards);
      });
}

std::vector<std::pair<std::int64_t, double>> diversity_of(const RunData& run) {
  std::map<std::int64_t, std::vector<const Levels*>> by_generation;
  for (const auto& [place, parent] : run.parents)
    if (!parent.levels.empty()) by_generation[place.generation].push_back(&parent.levels);
  std::vector<std::pair<std::int64_t, double>> found;
  for (const auto& [generation, all] : by_generation) {
    double differ = 0, pairs = 0;
    for (std::size_t a = 0; a < all.size(); ++a) {
      for (std::size_t b = 0; b < a; ++b) {
        if (all[a]->size() != all[b]->size()) continue;
        for (std::size_t m = 0; m < all[a]->size(); ++m) differ += (*all[a])[m] != (*all[b])[m] ? 1 : 0;
        ++pairs;
      }
    }
    if (pairs > 0) found.emplace_back(generation, differ / pairs);
  }
  return found;
}

}  // namespace galapagos::report
