#include "sections.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <set>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/lineage.hpp>
#include <galapagos/report/scale.hpp>

namespace galapagos::report {
namespace {

/// The parts of a model's layers: experts of a layer belong to one.
struct LayerParts {
  std::vector<std::int64_t> layers;
  bool attention = false, ffn = false, experts = false;
};

LayerParts parts_in(const RunData& run) {
  LayerParts parts;
  std::set<std::int64_t> layers;
  for (const Module& module : run.modules) {
    layers.insert(module.layer);
    (module.part == Part::attention ? parts.attention : parts.ffn) = true;
    parts.experts = parts.experts || module.expert != -1;
  }
  parts.layers.assign(layers.begin(), layers.end());
  return parts;
}

/// Of the modules of a part of a layer what `levels` says.
std::vector<std::int16_t> of_part(const RunData& run, const Levels& levels, std::int64_t layer, Part kind) {
  std::vector<std::int16_t> found;
  for (std::size_t m = 0; m < std::min(run.modules.size(), levels.size()); ++m)
    if (run.modules[m].layer == layer && run.modules[m].part == kind) found.push_back(levels[m]);
  return found;
}

std::string counts_of(const std::vector<std::int16_t>& levels) {
  std::map<std::int16_t, int> counts;
  for (const std::int16_t level : levels) ++counts[level];
  std::string text;
  for (const auto& [level, count] : counts) text += fmt::format("\nlevel {}: {}", level, count);
  return text;
}

HeatMap::Cell cell_of(const RunData& run, const Levels& levels, std::int64_t layer, Part kind, double most) {
  const std::vector<std::int16_t> here = of_part(run, levels, layer, kind);
  const std::vector<std::int16_t> start = of_part(run, run.start, layer, kind);
  HeatMap::Cell cell;
  if (here.empty()) return cell;
  double sum = 0;
  for (const std::int16_t level : here) sum += level;
  const double mean = sum / static_cast<double>(here.size());
  cell.share = mean / most;
  const std::string what = fmt::format("layer {}, {}", layer, kind == Part::attention ? "attention" : "ffn");
  if (here.size() == 1) {
    cell.text = std::to_string(here[0]);
    cell.title = fmt::format("{}: level {}", what, here[0]);
    if (start.size() == 1) cell.title += fmt::format(", at the start {}", start[0]);
  } else {
    cell.text = fmt::format("{:.1f}", mean);
    cell.title = fmt::format("{}: {} experts, mean level {:.2f}{}", what, here.size(), mean, counts_of(here));
  }
  return cell;
}

std::vector<std::string> names_of(const std::vector<std::int64_t>& layers) {
  std::vector<std::string> names;
  for (const std::int64_t layer : layers) names.push_back(std::to_string(layer));
  return names;
}

double highest(const std::vector<const Levels*>& all) {
  std::int16_t most = 1;
  for (const Levels* levels : all)
    for (const std::int16_t level : *levels) most = std::max(most, level);
  return most;
}

HeatMap assignment(const RunData& run, const Levels& levels, std::string title, double most) {
  const LayerParts parts = parts_in(run);
  HeatMap map;
  map.title = std::move(title);
  map.columns = names_of(parts.layers);
  map.x_title = "layer";
  map.least = "level 0: not pruned";
  map.most = fmt::format("level {:.0f}", most);
  for (const Part kind : {Part::attention, Part::ffn}) {
    if (!(kind == Part::attention ? parts.attention : parts.ffn)) continue;
    map.rows.push_back(kind == Part::attention ? "attention" : parts.experts ? "experts" : "ffn");
    map.cells.emplace_back();
    for (const std::int64_t layer : parts.layers)
      map.cells.back().push_back(cell_of(run, levels, layer, kind, most));
  }
  if (parts.experts)
    map.note = "Of a layer's experts the mean level; how many have which is under the pointer.";
  return map;
}

/// The levels on the way of the best: a row for each part of a layer, a column for each generation.
std::string history(const RunData& run, const Lineage& lineage) {
  constexpr std::size_t most_columns = 120;
  if (lineage.line.size() < 3) return "";
  const LayerParts parts = parts_in(run);
  std::vector<const Levels*> all;
  for (const Ancestor& ancestor : lineage.line) {
    if (ancestor.levels.size() != run.modules.size()) return "";
    all.push_back(&ancestor.levels);
  }
  const double most = highest(all);
  const std::size_t stride = (lineage.line.size() + most_columns - 1) / most_columns;
  HeatMap map;
  map.title = "Levels on the way of the best";
  map.x_title = "generation";
  map.least = "level 0";
  map.most = fmt::format("level {:.0f}", most);
  for (std::size_t i = 0; i < lineage.line.size(); i += stride)
    map.columns.push_back(std::to_string(lineage.line[i].place.generation));
  for (const std::int64_t layer : parts.layers) {
    for (const Part kind : {Part::attention, Part::ffn}) {
      if (of_part(run, run.best.empty() ? *all.back() : run.best, layer, kind).empty()) continue;
      map.rows.push_back(fmt::format("{} {}", layer,
                                     kind == Part::attention ? "attention"
                                     : parts.experts         ? "experts"
                                                             : "ffn"));
      map.cells.emplace_back();
      for (std::size_t i = 0; i < lineage.line.size(); i += stride) {
        HeatMap::Cell cell = cell_of(run, *all[i], layer, kind, most);
        cell.text.clear();
        cell.title = fmt::format("generation {}: ", lineage.line[i].place.generation) + cell.title;
        map.cells.back().push_back(std::move(cell));
      }
    }
  }
  if (map.rows.size() > 200) return "";
  return draw(map);
}

std::string learned(const RunData& run) {
  if (run.learned.empty() || run.learned.size() != run.modules.size()) return "";
  Chart chart{"Levels that the gradient learned, and the best's", {"layer"}, {"level"}, {}};
  std::size_t colour = 0;
  for (const Part kind : {Part::attention, Part::ffn}) {
    const std::string part = kind == Part::attention ? "attention" : "ffn";
    ChartSeries soft{part + ", learned", colour, {}}, hard{part + ", best", colour, {}};
    soft.dashed = true;
    hard.line = false;
    hard.marks = true;
    for (std::size_t m = 0; m < run.modules.size(); ++m) {
      if (run.modules[m].part != kind || run.modules[m].expert != -1) continue;
      const auto layer = static_cast<double>(run.modules[m].layer);
      soft.points.push_back({layer, run.learned[m], ""});
      if (m < run.best.size()) hard.points.push_back({layer, static_cast<double>(run.best[m]), ""});
    }
    ++colour;
    chart.series.push_back(std::move(soft));
    chart.series.push_back(std::move(hard));
  }
  return draw(chart);
}

std::string told(const RunData& run, const Lineage& lineage) {
  std::map<std::string, int> origins;
  std::set<std::int64_t> islands;
  for (const Ancestor& ancestor : lineage.line) {
    islands.insert(ancestor.place.island);
    if (ancestor.origin != "parent") ++origins[ancestor.origin.empty() ? "not told" : ancestor.origin];
  }
  std::string text;
  for (const auto& [origin, count] : origins)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, origin);
  text = fmt::format(
      "The best came to be in {} steps ({}) on {} of {} islands.",
      std::ranges::count_if(lineage.line, [](const Ancestor& one) { return one.origin != "parent"; }), text,
      islands.size(), run.island_numbers().size());
  if (!lineage.of_best)
    text += " best.txt is none of the islands' own, so that the way is that of the best island's last.";
  if (!lineage.complete)
    text += fmt::format(" Its way before generation {} is not known.", lineage.line.front().place.generation);
  const bool race = run.option("strategy") == "racing" || run.manifest_text("strategy") == "racing";
  return text + (race ? " A race does not write down whom a challenger was bred from: the way is that of its "
                        "island's "
                        "incumbents."
                      : " Parents follow from what the islands held; immigrants are known by their levels.");
}

/// Where each module got its level.
std::string genes(const RunData& run, const Lineage& lineage) {
  const std::vector<Place> places = places_of_levels(run, lineage);
  const LayerParts parts = parts_in(run);
  if (places.size() != run.modules.size() || parts.experts) return "";
  const std::vector<std::int64_t> islands = run.island_numbers();
  HeatMap map;
  map.title = "Where and when the best got its levels";
  map.columns = names_of(parts.layers);
  map.x_title = "layer";
  std::set<std::int64_t> seen;
  bool start = false;
  for (const Part kind : {Part::attention, Part::ffn}) {
    if (!(kind == Part::attention ? parts.attention : parts.ffn)) continue;
    map.rows.push_back(kind == Part::attention ? "attention" : "ffn");
    map.cells.emplace_back();
    for (const std::int64_t layer : parts.layers) {
      HeatMap::Cell cell;
      for (std::size_t m = 0; m < places.size(); ++m) {
        if (run.modules[m].layer != layer || run.modules[m].part != kind) continue;
        const auto& [generation, island] = places[m];
        const auto at = std::ranges::find(islands, island) - islands.begin();
        if (island < 0) {
          cell.share = 0;
          cell.text = "–";
          cell.title = fmt::format("layer {}: as at the start", layer);
          start = true;
        } else {
          seen.insert(island);
          cell.colour = static_cast<std::size_t>(at);
          cell.text = std::to_string(generation);
          cell.title = fmt::format("layer {}: island {}, generation {}", layer, island, generation);
        }
      }
      map.cells.back().push_back(std::move(cell));
    }
  }
  for (const std::int64_t island : seen)
    map.legend.emplace_back(fmt::format("island {}", island),
                            static_cast<std::size_t>(std::ranges::find(islands, island) - islands.begin()));
  map.note = "The number is the generation from which on the module's level stayed.";
  if (start) map.note += " –: as at the start.";
  return draw(map);
}

Lanes lanes_of(const RunData& run, const Lineage& lineage) {
  Lanes lanes;
  lanes.title = "Migrations and the way of the best";
  lanes.islands = run.island_numbers();
  lanes.generations = run.last_generation();
  lanes.migrations = run.migrations;
  for (const auto& [place, line] : run.islands)
    if (line.improved) lanes.replaced.push_back(place);
  for (const Ancestor& one : lineage.line)
    lanes.line.push_back(
        {one.place.generation, one.place.island,
         fmt::format("generation {}, island {}\n{}, fitness {}", one.place.generation, one.place.island,
                     one.origin == "parent" ? "as before" : one.origin, short_number(one.fitness, 5)),
         one.origin});
  return lanes;
}

}  // namespace

std::string levels_section(const RunData& run) {
  std::vector<const Levels*> all = {&run.best, &run.start, &run.uniform};
  for (const FrontLine& point : run.front) all.push_back(&point.levels);
  const double most = highest(all);
  std::string pictures;
  if (!run.best.empty()) pictures += draw(assignment(run, run.best, "Best assignment", most));
  for (const FrontLine& point : run.front)
    if (!point.levels.empty())
      pictures += draw(assignment(run, point.levels, fmt::format("Sparsity {}", point.sparsity), most));
  if (pictures.empty() && !run.start.empty())
    pictures = draw(assignment(run, run.start, "Where it began", most));
  if (run.front.empty()) pictures += history(run, lineage_of_best(run));
  pictures += learned(run);
  if (pictures.empty()) return "";
  return heading("Levels",
                 "How much of each layer's parts is pruned: the higher the level, the more structures are "
                 "gone.") +
         pictures;
}

std::string ancestry_section(const RunData& run) {
  const Lineage lineage = lineage_of_best(run);
  if (run.islands.empty() || (lineage.line.empty() && run.migrations.empty())) return "";
  const bool of_front = !run.front.empty();
  return heading("Islands and ancestry", of_front || lineage.line.empty() ? "" : told(run, lineage)) +
         draw(lanes_of(run, of_front ? Lineage{} : lineage)) + (of_front ? "" : genes(run, lineage));
}

}  // namespace galapagos::report
