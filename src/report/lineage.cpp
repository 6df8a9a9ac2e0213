#include <algorithm>
#include <cmath>
#include <optional>

#include <galapagos/report/lineage.hpp>

namespace galapagos::report {
namespace {

/// What the last comparison found best; nothing where nobody says what that held.
std::optional<Place> compared_best(const RunData& run) {
  if (run.comparisons.empty() || run.parents.empty()) return std::nullopt;
  const Place place{run.parents.rbegin()->first.generation, run.comparisons.rbegin()->second.best_island};
  return run.parents.contains(place) ? std::optional(place) : std::nullopt;
}

std::optional<Place> least_at_end(const RunData& run) {
  std::optional<Place> found;
  double least = INFINITY;
  for (const auto& [place, parent] : run.parents) {
    if (place.generation != run.parents.rbegin()->first.generation || !(parent.fitness < least)) continue;
    least = parent.fitness;
    found = place;
  }
  return found;
}

/// Where best.txt was last held, by the best island rather than by another.
std::optional<Place> place_of_best(const RunData& run, bool& of_best) {
  const std::optional<Place> compared = compared_best(run);
  std::optional<Place> found;
  for (const auto& [place, parent] : run.parents)
    if (!run.best.empty() && parent.levels == run.best) found = place;
  of_best = found.has_value();
  if (!found) return compared ? compared : least_at_end(run);
  return compared && run.parents.at(*compared).levels == run.best ? compared : found;
}

/// Where an immigrant was held before it came: another island, the latest generation before this one.
std::optional<Place> home_of(const RunData& run, const Place& place, const Levels& levels) {
  std::optional<Place> home;
  for (auto at = run.parents.begin(); at != run.parents.end() && at->first.generation < place.generation;
       ++at)
    if (at->first.island != place.island && at->second.levels == levels) home = at->first;
  return home;
}

}  // namespace

Lineage lineage_of_best(const RunData& run) {
  Lineage lineage;
  std::optional<Place> at = place_of_best(run, lineage.of_best);
  while (at) {
    const auto found = run.parents.find(*at);
    if (found == run.parents.end()) break;
    const ParentLine& parent = found->second;
    lineage.line.push_back({*at, parent.origin, parent.fitness, parent.levels});
    if (at->generation <= 1) {
      lineage.complete = true;
      break;
    }
    const Place before{at->generation - 1, at->island};
    const auto own = run.parents.find(before);
    const bool came =
        parent.origin == "immigrant" && (own == run.parents.end() || own->second.levels != parent.levels);
    // Of several migrants that an island sends only the first is what it holds itself.
    at = came ? home_of(run, *at, parent.levels) : before;
  }
  std::ranges::reverse(lineage.line);
  return lineage;
}

std::vector<Place> places_of_levels(const RunData& run, const Lineage& lineage) {
  if (lineage.line.empty()) return {};
  const Levels& last = lineage.line.back().levels;
  std::vector<Place> places(last.size());
  for (std::size_t m = 0; m < last.size(); ++m) {
    Place& place = places[m] = {0, -1};
    for (std::size_t i = lineage.line.size(); i-- > 0;) {
      const Ancestor& ancestor = lineage.line[i];
      if (ancestor.levels.size() != last.size() || ancestor.levels[m] != last[m]) break;
      place = ancestor.place;
      const bool first = i == 0 && lineage.complete;
      if (first && run.start.size() == last.size() && run.start[m] == last[m]) place = {0, -1};
    }
  }
  return places;
}

}  // namespace galapagos::report
