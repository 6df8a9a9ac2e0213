#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include <galapagos/report/run_data.hpp>

namespace galapagos::report {

std::string RunData::option(const std::string& wanted) const {
  for (const GivenOption& option : options)
    if (option.name == wanted) return option.value;
  return {};
}

double RunData::option_number(const std::string& wanted) const {
  const std::string text = option(wanted);
  double value = unknown;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : unknown;
}

double RunData::manifest_number(const std::string& wanted) const {
  const auto found = std::ranges::find(manifest_numbers, wanted, &std::pair<std::string, double>::first);
  return found == manifest_numbers.end() ? unknown : found->second;
}

std::string RunData::manifest_text(const std::string& wanted) const {
  const auto found = std::ranges::find(manifest_texts, wanted, &std::pair<std::string, std::string>::first);
  return found == manifest_texts.end() ? "" : found->second;
}

std::vector<std::int64_t> RunData::island_numbers() const {
  std::set<std::int64_t> numbers;
  for (const auto& [place, line] : islands) numbers.insert(place.island);
  return {numbers.begin(), numbers.end()};
}

std::int64_t RunData::last_generation() const {
  return islands.empty() ? 0 : islands.rbegin()->first.generation;
}

bool RunData::ended() const {
  if (command == "search" || command.empty()) {
    // A comparison on the way writes a manifest, too; only the end says where the time went.
    const double planned = option_number("generations");
    return !phases.empty() &&
           (std::isnan(planned) || !(manifest_number("generations") < planned) || !front.empty());
  }
  if (command == "prune" || command == "rounds") return !models.empty();
  return has_manifest;
}

double RunData::seconds() const {
  double latest = manifest_number("seconds");
  const auto later = [&](double elapsed) {
    if (!(elapsed <= latest)) latest = std::isnan(elapsed) ? latest : elapsed;
  };
  for (const auto& [place, line] : islands) later(line.elapsed);
  if (!updates.empty()) later(updates.back().elapsed);
  double billed = 0;
  for (const BillLine& part : bill) billed += std::isnan(part.seconds) ? 0 : part.seconds;
  if (std::isnan(latest) && billed > 0) return billed;
  return latest;
}

double RunData::node_hours() const {
  double sum = 0;
  bool any = false;
  for (const BillLine& part : bill) {
    if (std::isnan(part.node_hours)) continue;
    sum += part.node_hours;
    any = true;
  }
  return any ? sum : unknown;
}

double joules_of(const BillLine& part) {
  double node = 0, others = 0;
  for (const auto& [name, value] : part.joules) (name == "node" ? node : others) += value;
  return node > 0 ? node : others;
}

std::vector<TogetherPoint> together(const RunData& run) {
  const std::size_t islands = run.island_numbers().size();
  std::map<std::int64_t, std::pair<TogetherPoint, std::size_t>> by_generation;
  for (const auto& [place, line] : run.islands) {
    auto& [point, count] = by_generation[place.generation];
    point.generation = place.generation;
    point.evaluations += std::max<std::int64_t>(line.evaluations, 0);
    point.elapsed = std::max(point.elapsed, std::isnan(line.elapsed) ? 0 : line.elapsed);
    point.mean_best += line.best / static_cast<double>(islands);
    point.best = count == 0 ? line.best : std::min(point.best, line.best);
    ++count;
  }
  std::vector<TogetherPoint> points;
  for (const auto& [generation, found] : by_generation)
    if (found.second == islands && std::isfinite(found.first.mean_best)) points.push_back(found.first);
  return points;
}

}  // namespace galapagos::report
