#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/search/latency_goal.hpp>

namespace galapagos {
namespace {

/// The unpruned model of a table, where it was timed whole.
std::optional<WholeLatency> find_unpruned(const SearchSpace& space, const LatencyTable& table,
                                          const LatencyTarget& target, std::int64_t parts) {
  const WholeShape shape = whole_shape(space, Assignment(space.modules.size(), 0));
  std::optional<WholeLatency> found;
  for (const WholeRow& row : table.wholes)
    if (row.phase == target.phase && row.shape == shape) found = whole_latency(row);
  if (found && std::abs(found->parts - parts) > parts / 100)
    throw InputError(
        fmt::format("the parts of the unpruned model take {} beside its own time, but sum up to {}",
                    latency_text(found->parts), latency_text(parts)),
        target.table.string(), "measure both again with 'galapagos profile --fresh --assignment'");
  return found;
}

/// That of a phase for which `distance` is least, the last of equals.
template <typename Distance>
std::optional<WholeLatency> nearest(const LatencyTable& table, LatencyPhase phase, const Distance& distance) {
  std::optional<WholeLatency> best;
  for (const WholeRow& row : table.wholes) {
    const WholeLatency one = whole_latency(row);
    if (row.phase == phase && (!best || distance(one) <= distance(*best))) best = one;
  }
  return best;
}

double ratio(std::int64_t one, std::int64_t other) {
  return std::abs(std::log(static_cast<double>(one) / static_cast<double>(other)));
}

}  // namespace

WholeLatency whole_latency(const WholeRow& row) {
  return {std::max<std::int64_t>(std::llround(row.parts * 1e9), 1),
          std::max<std::int64_t>(std::llround(row.seconds * 1e9), 1)};
}

std::int64_t LatencyLine::at(std::int64_t parts) const {
  return std::llround(slope * static_cast<double>(parts) + offset);
}

LatencyLine line_through(const WholeLatency& timed, const std::optional<WholeLatency>& unpruned) {
  const auto parts = static_cast<double>(timed.parts), whole = static_cast<double>(timed.whole);
  double slope = whole / parts;
  constexpr double near = 0.05;  // of the unpruned model: a percent of noise would tilt the line too much
  if (unpruned) {
    const double more = static_cast<double>(unpruned->parts) - parts;
    if (std::abs(more) > near * static_cast<double>(unpruned->parts))
      slope = std::clamp((static_cast<double>(unpruned->whole) - whole) / more, slope / 2, 1.5 * slope);
  }
  return {slope, whole - slope * parts};
}

LatencyGoal latency_goal(const SearchSpace& space, const LatencyTarget& target, const LatencyTable& table,
                         const std::optional<WholeLatency>& timed) {
  const LatencyPhase phase = target.phase;
  LatencyGoal goal;
  goal.costs = latency_costs(space, table, phase, target.table);
  const std::int64_t all = goal.costs.sum(Assignment(space.modules.size(), 0));
  goal.unpruned = find_unpruned(space, table, target, all);
  const auto largest = nearest(table, phase, [&](const WholeLatency& one) {
    return ratio(one.parts, std::max<std::int64_t>(all, 1));
  });
  const std::int64_t dense = goal.unpruned ? goal.unpruned->whole
                             : largest     ? line_through(*largest, std::nullopt).at(all)
                                           : all;
  const std::int64_t faster =
      target.speedup ? static_cast<std::int64_t>(std::floor(static_cast<double>(dense) / *target.speedup))
                     : INT64_MAX;
  goal.most = std::min(target.latency.value_or(INT64_MAX), faster);
  const auto through =
      timed ? timed
            : nearest(table, phase, [&](const WholeLatency& one) { return ratio(one.whole, goal.most); });
  if (through) goal.line = line_through(*through, goal.unpruned);
  std::int64_t least = goal.costs.fixed;
  for (const auto& of_module : goal.costs.modules)
    least += *std::min_element(of_module.begin(), of_module.end());
  least = std::max<std::int64_t>(goal.line.at(least), 1);
  if (faster < least)
    throw UsageError(
        fmt::format(
            "a speedup of {:g}, but by this table assignments of this database go to {:.2f} ({} of {})",
            *target.speedup, std::floor(100 * static_cast<double>(dense) / static_cast<double>(least)) / 100,
            latency_text(least), latency_text(dense)),
        "--target-speedup", "choose a smaller one");
  return goal;
}

}  // namespace galapagos
