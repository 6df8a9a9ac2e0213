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
}

void check_rank(PlannedPhase& phase, std::uint64_t need, std::uint64_t limit, const std::string& remedy) {
  phase.json["memory"]["limit"] = limit;
  if (limit == 0 || need <= limit) return;
  phase.warnings.push_back(
      fmt::format("a rank needs {} and may use {}; {}", human_bytes(need), human_bytes(limit), remedy));
}

std::uint64_t Machine::limit(std::uint64_t asked) const {
  if (asked > 0 || node_memory == 0) return asked;
  return memory_share(node_memory, ranks_per_node());
}

std::string human_operations(double operations) {
  constexpr const char* prefixes[] = {"", "K", "M", "G", "T", "P", "E", "Z", "Y"};
  std::size_t prefix = 0;
  for (; operations >= 1000 && prefix + 1 < std::size(prefixes); ++prefix) operations /= 1000;
  return fmt::format("{:.3g} {}flop", operations, prefixes[prefix]);
}

}  // namespace galapagos::app
