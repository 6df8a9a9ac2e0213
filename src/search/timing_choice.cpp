#include "timing_choice.hpp"

#include <fmt/format.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

std::string reason_not_to(const SearchOptions& options, const HfConfig& config, const std::string& precision,
                          const std::string& device, const LatencyConditions& there) {
  if (!options.time_whole) return "--time-whole none";
  if (options.shards > 1) return "a rank holds but a shard of the model";
  if (there.device != device)
    return fmt::format("the table is of '{}', this is '{}'", printable(there.device, 60), device);
  if (there.precision != precision)
    return fmt::format("the table is of {} weights, this run of {}", printable(there.precision, 20),
                       precision);
  if (there.length > config.longest_sequence())
    return fmt::format("the table is of {} tokens, the model takes {}", there.length,
                       config.longest_sequence());
  return "";
}

}  // namespace

TimingChoice choose_timing(const SearchOptions& options, const HfConfig& config, DType precision,
                           const std::string& device) {
  TimingChoice choice;
  if (!options.target.by_latency()) return choice;
  const LatencyTable table = read_latency_table(options.target.latency_table);
  const LatencyConditions& there = *table.conditions(options.target.phase());
  choice.untimed = reason_not_to(options, config, name_of(precision), device, there);
  if (choice.untimed.empty()) choice.timing = Timing{there.batch, there.length, Timing().repeats, precision};
  return choice;
}

}  // namespace galapagos
