#include "sections.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>

namespace galapagos::report {
namespace {

std::string phases(const RunData& run) {
  Bars::Bar bar{run.name, {}};
  std::vector<Row> rows = {{"seconds of a rank", "least", "mean", "greatest", "share"}};
  std::vector<PhaseLine> sorted = run.phases;
  std::ranges::stable_sort(sorted, [](const PhaseLine& a, const PhaseLine& b) { return a.share > b.share; });
  for (const PhaseLine& phase : sorted) {
    const std::string share = fmt::format("{:.1f} %", 100 * phase.share);
    bar.parts.push_back({phase.name, std::isnan(phase.share) ? 0 : phase.share, phase.name + ": " + share});
    rows.push_back({phase.name, fmt::format("{:.2f}", phase.least), fmt::format("{:.2f}", phase.mean),
                    fmt::format("{:.2f}", phase.most), share});
  }
  if (sorted.empty()) return "";
  // As many as there are colours for; the rest is the last one's.
  constexpr std::size_t most = 7;
  if (bar.parts.size() > most + 1) {
    Bars::Part rest{"less than these", 0, ""};
    for (std::size_t i = most; i < bar.parts.size(); ++i) rest.share += bar.parts[i].share;
    rest.title = fmt::format("all others: {:.1f} %", 100 * rest.share);
    bar.parts.resize(most);
    bar.parts.push_back(std::move(rest));
  }
  return draw(Bars{"Where the time went, all ranks together", {std::move(bar)}}) + table(rows);
}

/// Where each generation's time went, as long as the run has not said where all of it did.
std::string phases_of_generations(const RunData& run) {
  std::map<std::string, std::map<std::int64_t, double>> seconds;
  for (const auto& [place, line] : run.islands)
    for (const auto& [name, value] : line.seconds) seconds[name][place.generation] += value;
  Chart chart{"Seconds of all islands in a generation", {"generation"}, {"seconds"}, {}};
  for (const auto& [name, of] : seconds) {
    ChartSeries series{name, chart.series.size(), {}};
    double sum = 0;
    for (const auto& [generation, value] : of) {
      series.points.push_back({static_cast<double>(generation), value, ""});
      sum += value;
    }
    if (sum > 0) chart.series.push_back(std::move(series));
  }
  chart.y.from_zero = true;
  return side_by_side(draw(chart));
}

std::string joules_in_words(const BillLine& part) {
  std::string text;
  for (const auto& [name, joules] : part.joules)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, energy(joules));
  return text;
}

std::string bill(const RunData& run) {
  if (run.bill.empty()) return "";
  std::vector<Row> rows = {{"part", "ended", "time", "nodes", "ranks", "node-hours", "GPU-hours", "energy"}};
  double seconds = 0, gpu_hours = 0, joules = 0;
  for (const BillLine& part : run.bill) {
    rows.push_back({part.command + " " + part.at, part.ended, human_duration(part.seconds),
                    short_number(part.nodes), short_number(part.ranks), short_number(part.node_hours),
                    short_number(part.gpu_hours), joules_in_words(part)});
    if (part.seconds > 0) seconds += part.seconds;
    if (part.gpu_hours > 0) gpu_hours += part.gpu_hours;
    joules += joules_of(part);
  }
  if (run.bill.size() > 1)
    rows.push_back({"all", "", human_duration(seconds), "", "", short_number(run.node_hours()),
                    gpu_hours > 0 ? short_number(gpu_hours) : "", energy(joules)});
  return table(rows);
}

}  // namespace

std::string cost_section(const RunData& run) {
  const std::string text = phases(run) + phases_of_generations(run) + bill(run);
  return text.empty() ? "" : heading("Time and energy") + text;
}

}  // namespace galapagos::report
