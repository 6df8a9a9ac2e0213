#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include <galapagos/search/latency_table.hpp>

namespace galapagos {

/// What the parts of a model sum up to and what it took as a whole, in nanoseconds.
struct WholeLatency {
  std::int64_t parts = 0, whole = 0;
};
WholeLatency whole_latency(const WholeRow& row);

/// What whole models take by the sums of their parts, in nanoseconds.
struct LatencyLine {
  double slope = 1, offset = 0;

  std::int64_t at(std::int64_t parts) const;
};

/// Through a model that was timed whole, toward the unpruned one where that was, too, and is not too near to
/// say more than noise. The slope stays within a half and three halves of what the model itself took by its
/// parts.
LatencyLine line_through(const WholeLatency& timed, const std::optional<WholeLatency>& unpruned);

/// A target of latency: either or both.
struct LatencyTarget {
  std::optional<std::int64_t> latency = {};  ///< nanoseconds
  std::optional<double> speedup = {};        ///< of the unpruned model's time over that
  LatencyPhase phase = LatencyPhase::prefill;
  std::filesystem::path table = {};  ///< for messages
};

/// What a target of latency comes to: the time that a whole model may take, and how it follows from parts.
struct LatencyGoal {
  LatencyCosts costs;  ///< of the parts, as they were timed
  LatencyLine line;
  std::int64_t most = 0;                 ///< nanoseconds of a whole model
  std::optional<WholeLatency> unpruned;  ///< where it was timed whole

  /// What a whole model is expected to take.
  std::int64_t expected(const Assignment& assignment) const { return line.at(costs.sum(assignment)); }
};

/// The line goes through `timed` where that is given, else through the whole model of the table that took
/// nearest to what is asked for, the last of equals; without any whole model the sum of parts counts.
/// UsageError where a speedup cannot be met, InputError as latency_costs() and where the sum of the unpruned
/// model's parts is not the one beside its own time.
LatencyGoal latency_goal(const SearchSpace& space, const LatencyTarget& target, const LatencyTable& table,
                         const std::optional<WholeLatency>& timed = std::nullopt);

}  // namespace galapagos
