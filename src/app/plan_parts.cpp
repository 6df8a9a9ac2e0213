#include "plan_parts.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

#include <galapagos/core/text.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos::app {
namespace {

std::string duration(double seconds) {
  return seconds < 100 ? fmt::format("{:.2g} s", seconds) : human_duration(seconds);
}

}  // namespace

std::string count_text(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

std::string bytes_text(double number) {
  return human_bytes(static_cast<std::uint64_t>(number));
}

Json spans_of(const PipelineGrid& grid) {
  Json spans = Json::array();
  for (const LayerSpan& span : grid.spans) spans.push_back({span.first, span.last});
  return spans;
}

std::string grid_text(const PipelineGrid& grid, int ranks) {
  std::int64_t least = grid.spans.front().count(), most = least;
  for (const LayerSpan& span : grid.spans) {
    least = std::min(least, span.count());
    most = std::max(most, span.count());
  }
  const std::string layers = least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most);
  const int idle = ranks - grid.stages() * grid.lanes;
  return fmt::format("{} stages x {} lanes, {} layers a stage{}", grid.stages(), grid.lanes, layers,
                     idle > 0 ? fmt::format(", {} ranks outside", idle) : "");
}

std::string replicas_text(const Machine& machine, int shards) {
  return fmt::format("{} replicas of {} shards", machine.ranks / shards, shards);
}

std::string traffic_text(const ShardTraffic& moved) {
  return fmt::format(
      "layers {}, embedding {}, {}losses {}", bytes_text(moved.layers), bytes_text(moved.embedding),
      moved.head > 0 ? "head " + bytes_text(moved.head) + ", " : std::string(), bytes_text(moved.losses));
}

Json traffic_json(const ShardTraffic& moved) {
  return {{"layers", moved.layers},
          {"embedding", moved.embedding},
          {"head", moved.head},
          {"losses", moved.losses},
          {"total", moved.total()}};
}

double Clock::compute(double operations, double streamed) const {
  return std::max(at(operations, machine_.peak), at(streamed, machine_.bandwidth));
}

void Clock::add(const std::string& step, double seconds) {
  if (seconds > 0) steps_.emplace_back(step, seconds);
}

void Clock::write_to(PlannedPhase& phase) const {
  if (machine_.peak <= 0) return;
  double total = 0;
  std::string text;
  for (const auto& [step, seconds] : steps_) {
    total += seconds;
    text += fmt::format("{}{} {}", text.empty() ? "" : " + ", step, duration(seconds));
    phase.json["seconds"][step] = seconds;
  }
  phase.json["seconds"]["total"] = total;
  phase.rows.emplace_back("time", fmt::format("~ {} = {}", duration(total), text));
  const Bill bill = planned_bill(machine_, total);
  phase.json["bill"] = hours_json(bill);
  phase.rows.emplace_back("bill", "~ " + hours_text(bill));
}

Bill planned_bill(const Machine& machine, double seconds) {
  return {.seconds = seconds,
          .nodes = machine.nodes,
          .ranks = machine.ranks,
          .gpus = machine.device() == Device::cuda ? machine.ranks : 0,
          .joules = {}};
}

std::string hours_text(const Bill& bill) {
  std::string text = fmt::format("{:.3g} node-hours", bill.node_hours());
  return bill.gpus > 0 ? text + fmt::format(", {:.3g} GPU-hours", bill.gpu_hours()) : text;
}

Json hours_json(const Bill& bill) {
  Json hours = {{"node_hours", bill.node_hours()}};
  if (bill.gpus > 0) hours["gpu_hours"] = bill.gpu_hours();
  return hours;
}

void check_rank(PlannedPhase& phase, std::uint64_t need, std::uint64_t limit, const std::string& remedy) {
  phase.json["memory"]["limit"] = limit;
  if (limit == 0 || need <= limit) return;
  phase.warnings.push_back(
      fmt::format("a rank needs {} and may use {}; {}", human_bytes(need), human_bytes(limit), remedy));
}

std::uint64_t Machine::limit(std::uint64_t asked) const {
  if (asked > 0) return asked;
  if (gpu_memory > 0) return memory_share(gpu_memory, 1);
  return host_share();
}

std::uint64_t Machine::host_share() const {
  return node_memory > 0 ? memory_share(node_memory, ranks_per_node()) : 0;
}

std::optional<std::uint64_t> Machine::host_limit() const {
  if (gpu_memory == 0) return std::nullopt;
  return node_memory > 0 ? memory_share(node_memory, 1) : UINT64_MAX;
}

int Machine::split_replicas(int shards) const {
  int most = 0;
  for (int first = 0; first < ranks; first += ranks_per_node()) {
    const int last = std::min(first + ranks_per_node(), ranks);
    const bool from_before = first % shards != 0, goes_on = last % shards != 0;
    const bool same = first / shards == last / shards;
    most = std::max(most, from_before && goes_on && !same ? 2 : from_before || goes_on ? 1 : 0);
  }
  return most;
}

std::string human_operations(double operations) {
  constexpr const char* prefixes[] = {"", "K", "M", "G", "T", "P", "E", "Z", "Y"};
  std::size_t prefix = 0;
  for (; operations >= 1000 && prefix + 1 < std::size(prefixes); ++prefix) operations /= 1000;
  return fmt::format("{:.3g} {}flop", operations, prefixes[prefix]);
}

}  // namespace galapagos::app
