#include <algorithm>
#include <cmath>

#include <galapagos/report/screen.hpp>

namespace galapagos::report {
namespace {

constexpr double patience = 100;  // seconds: as long as a lock is believed, core/run_lock.hpp

/// Of pairs (done, elapsed) the time for one more, over the last quarter of what is done but at least ten.
double seconds_each(const std::vector<std::pair<double, double>>& points) {
  if (points.size() < 2) return unknown;
  const std::size_t late = std::max<std::size_t>(10, points.size() / 4);
  const auto& [done, elapsed] = points[points.size() > late ? points.size() - 1 - late : 0];
  const double more = points.back().first - done;
  return more > 0 ? (points.back().second - elapsed) / more : unknown;
}

/// Of all sizes together.
double islands_planned(const RunData& run) {
  const auto seen = static_cast<double>(run.island_numbers().size());
  const double asked = run.option_number("islands");
  return std::max({std::isnan(asked) ? 1.0 : asked, seen, 1.0});
}

Headway of_search(const RunData& run) {
  Headway way{0, run.option_number("generations"), "generations", unknown};
  // Races' islands go on each at its own pace: a generation of one counts as its share.
  const double islands = islands_planned(run);
  std::vector<double> ends;
  for (const auto& [place, line] : run.islands) ends.push_back(line.elapsed);
  std::ranges::sort(ends);
  std::vector<std::pair<double, double>> points;
  for (const double end : ends) points.emplace_back(static_cast<double>(points.size() + 1) / islands, end);
  const double done = static_cast<double>(points.size()) / islands;
  way.done = std::floor(done + 1e-6);
  way.seconds_left = std::max(0.0, way.of - done) * seconds_each(points);
  return way;
}

Headway of_training(const RunData& run) {
  Headway way{0, run.option_number("tokens"), "tokens", unknown};
  if (run.updates.empty()) return way;
  way.done = static_cast<double>(run.updates.back().tokens);
  std::vector<std::pair<double, double>> points;
  for (const UpdateLine& update : run.updates)
    points.emplace_back(static_cast<double>(update.tokens), update.elapsed);
  way.seconds_left = std::max(0.0, way.of - way.done) * seconds_each(points);
  return way;
}

}  // namespace

Headway headway_of(const RunData& run) {
  if (!run.islands.empty() || run.command == "search") return of_search(run);
  if (!run.updates.empty() || run.command == "train") return of_training(run);
  if (!run.steps.empty()) {
    const auto done = std::ranges::count_if(run.steps, [](const StepLine& step) { return step.done; });
    return {static_cast<double>(done), static_cast<double>(run.steps.size()), "steps", unknown};
  }
  if (!run.layers.empty()) return {static_cast<double>(run.layers.size()), unknown, "layers", unknown};
  return {};
}

Standing standing_of(const RunData& run) {
  if (run.life.locked) {
    if (run.life.holder == LockHolder::lives) return Standing::running;
    if (run.life.holder == LockHolder::has_ended) return run.ended() ? Standing::done : Standing::killed;
    return run.life.since_beat <= patience ? Standing::running : Standing::silent;
  }
  if (run.ended()) return Standing::done;
  if (!run.bill.empty() && run.bill.back().ended == "done") return Standing::done;
  return Standing::stopped;
}

std::string name_of(Standing standing) {
  switch (standing) {
    case Standing::running:
      return "running";
    case Standing::silent:
      return "silent";
    case Standing::killed:
      return "killed";
    case Standing::stopped:
      return "stopped";
    case Standing::done:
      break;
  }
  return "done";
}

}  // namespace galapagos::report
