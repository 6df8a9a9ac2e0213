#include "sections.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

std::vector<double> all_ranks(const std::vector<ScalingSeries>& series) {
  std::set<double> ranks;
  for (const ScalingSeries& one : series)
    for (const ScalingSeries::Point& point : one.points) ranks.insert(static_cast<double>(point.ranks));
  return {ranks.begin(), ranks.end()};
}

std::string scaling(const std::vector<ScalingSeries>& series, const std::string& kind) {
  if (series.empty()) return "";
  Chart cost{
      "Seconds of a candidate, " + kind, {"ranks", false, false, all_ranks(series)}, {"seconds", true}, {}};
  Chart efficiency{"Efficiency, " + kind, {"ranks", false, false, all_ranks(series)}, {"%"}, {}, {0, 100}};
  for (std::size_t i = 0; i < series.size(); ++i) {
    ChartSeries first{series[i].name, i, {}}, second = first;
    first.marks = second.marks = true;
    for (const ScalingSeries::Point& point : series[i].points) {
      const auto ranks = static_cast<double>(point.ranks);
      first.points.push_back({ranks, point.seconds, ""});
      second.points.push_back({ranks, 100 * point.efficiency,
                               fmt::format("{} ranks: {:.1f} %", point.ranks, 100 * point.efficiency)});
    }
    cost.series.push_back(std::move(first));
    efficiency.series.push_back(std::move(second));
  }
  return draw(cost) + draw(efficiency);
}

/// Replicas of more shards on the same ranks.
std::string shards(const std::vector<StudyRow>& rows) {
  std::map<std::string, std::map<std::int64_t, std::pair<double, int>>> groups;
  std::set<double> ticks;
  for (const StudyRow& row : rows) {
    auto& [sum, count] = groups[fmt::format("{} {} x {}, {} ranks", row.strategy, row.islands, row.offspring,
                                            row.ranks)][row.shards];
    sum += row.seconds / static_cast<double>(row.evaluations);
    ++count;
  }
  Chart chart{"Seconds of a candidate by shards of a replica", {"shards"}, {"seconds"}, {}};
  for (const auto& [name, by_shards] : groups) {
    if (by_shards.size() < 2) continue;
    ChartSeries series{name, chart.series.size(), {}};
    series.marks = true;
    for (const auto& [number, sum] : by_shards) {
      ticks.insert(static_cast<double>(number));
      series.points.push_back({static_cast<double>(number), sum.first / sum.second, ""});
    }
    chart.series.push_back(std::move(series));
  }
  chart.x.only.assign(ticks.begin(), ticks.end());
  chart.y.from_zero = true;
  return draw(chart);
}

/// The mean of a population's seeds on the way, as far as all of them go.
std::string curves(const std::vector<StudyRow>& rows, const std::vector<RunData>& runs) {
  std::map<std::string, std::vector<std::vector<ChartPoint>>> by_evaluations, by_cost;
  for (const StudyRow& row : rows) {
    const auto run = std::ranges::find(runs, row.run, &RunData::name);
    if (run == runs.end()) continue;
    const std::string name = fmt::format("{} {} x {}", row.strategy, row.islands, row.offspring);
    std::vector<ChartPoint>& first = by_evaluations[name].emplace_back();
    std::vector<ChartPoint>& second = by_cost[name].emplace_back();
    for (const TogetherPoint& point : together(*run)) {
      first.push_back({static_cast<double>(point.evaluations), point.mean_best, ""});
      second.push_back({row.node_hours * point.elapsed / row.seconds, point.mean_best, ""});
    }
  }
  const auto averaged = [](const std::map<std::string, std::vector<std::vector<ChartPoint>>>& groups,
                           Chart chart) {
    for (const auto& [name, some] : groups) {
      ChartSeries series{name, chart.series.size(), {}};
      series.dashed = chart.series.size() >= 8;
      std::size_t length = some.front().size();
      for (const auto& one : some) length = std::min(length, one.size());
      for (std::size_t i = 0; i < length; ++i) {
        ChartPoint mean;
        for (const auto& one : some) {
          mean.x += one[i].x / static_cast<double>(some.size());
          mean.y += one[i].y / static_cast<double>(some.size());
        }
        series.points.push_back(mean);
      }
      chart.series.push_back(std::move(series));
    }
    chart.note = "Each on its own tokens; mean of islands and seeds.";
    return draw(chart);
  };
  const ChartAxis y{"fitness (lower is better)"};
  return averaged(by_evaluations, Chart{"On the way, by candidates", {"candidates of all islands"}, y, {}}) +
         averaged(by_cost, Chart{"On the way, by cost", {"node-hours"}, y, {}});
}

std::string differences(const std::vector<StudyRow>& rows) {
  constexpr std::size_t most_named = 3;
  const std::vector<std::vector<std::string>> all = differing_results(rows);
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), most_named); ++i)
    text += fmt::format("{}{}", text.empty() ? "" : "; ", fmt::join(all[i], ", "));
  if (all.size() > most_named) text += fmt::format("; and {} more searches", all.size() - most_named);
  return text.empty() ? ""
                      : element("p", {{"class", "lead"}},
                                escaped("Different results of the same search: " + text + "."));
}

/// Each run as a small point, the mean of the seeds as a large one.
template <typename Of>
std::string quality(const std::vector<StudyRow>& rows, std::string title, ChartAxis x, const Of& of) {
  std::map<std::string, std::vector<const StudyRow*>> by_strategy;
  for (const StudyRow& row : rows) by_strategy[row.strategy].push_back(&row);
  const bool held = std::ranges::all_of(rows, [](const StudyRow& row) { return !std::isnan(row.held_out); });
  Chart chart{std::move(title), std::move(x), {held ? "KL on held-out text" : "fitness of the best"}, {}};
  std::size_t colour = 0;
  for (const auto& [strategy, some] : by_strategy) {
    ChartSeries each{"", colour, {}}, means{strategy, colour, {}};
    each.line = means.line = false;
    each.marks = means.marks = each.faint = means.strong = true;
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<const StudyRow*>> groups;
    for (const StudyRow* row : some) {
      const std::string title_of_run = fmt::format("{}: {}", row->run, decimal(row->quality()));
      each.points.push_back({of(*row), row->quality(), title_of_run});
      groups[{row->islands, row->offspring}].push_back(row);
    }
    for (const auto& [population, group] : groups) {
      double at = 0, sum = 0;
      for (const StudyRow* row : group) {
        at += of(*row) / static_cast<double>(group.size());
        sum += row->quality() / static_cast<double>(group.size());
      }
      means.points.push_back({at, sum,
                              fmt::format("{} x {}, mean of {}: {}", population.first, population.second,
                                          group.size(), decimal(sum))});
    }
    chart.series.push_back(std::move(each));
    chart.series.push_back(std::move(means));
    ++colour;
  }
  chart.note = "Small: each run; large: the mean of a population's seeds.";
  return draw(chart);
}

std::string diversities(const std::vector<RunData>& runs) {
  Chart chart{"Diversity", {"generation"}, {"modules in which two islands' best differ"}, {}};
  for (const RunData& run : runs) {
    ChartSeries series{run.name, chart.series.size(), {}};
    for (const auto& [generation, apart] : diversity_of(run))
      series.points.push_back({static_cast<double>(generation), apart, ""});
    if (!series.points.empty() && chart.series.size() < 12) chart.series.push_back(std::move(series));
  }
  chart.y.from_zero = true;
  return draw(chart);
}

std::string rows_of(const std::vector<StudyRow>& rows) {
  std::vector<Row> text = {{"run", "islands x offspring", "ranks", "shards", "seed", "candidates", "seconds",
                            "node-hours", "fitness", "held-out KL", "waiting"}};
  for (const StudyRow& row : rows)
    text.push_back({row.run, fmt::format("{} x {}", row.islands, row.offspring), whole(row.ranks),
                    whole(row.shards), whole(row.seed), whole(row.evaluations), short_number(row.seconds, 4),
                    short_number(row.node_hours), decimal(row.fitness), decimal(row.held_out),
                    std::isnan(row.waiting) ? "" : fmt::format("{:.1f} %", 100 * row.waiting)});
  return table(text);
}

}  // namespace

std::string study_section(const std::vector<StudyRow>& rows, const std::vector<RunData>& runs) {
  if (rows.size() < 2 || !is_study(rows)) return "";
  const std::vector<StudyRow> results = on_fewest_ranks(rows);
  std::set<double> sizes;
  for (const StudyRow& row : results)
    if (row.population() > 0) sizes.insert(static_cast<double>(row.population()));
  std::string pictures = scaling(strong_scaling(rows), "the same search on more ranks") +
                         scaling(weak_scaling(rows), "the population grows as the ranks do") + shards(rows);
  if (sizes.size() > 1)
    pictures += quality(results, "Quality by population",
                        {"offspring of all islands", false, false, {sizes.begin(), sizes.end()}},
                        [](const StudyRow& row) { return static_cast<double>(row.population()); });
  pictures += quality(results, "Quality by candidates", {"candidates of all islands", true},
                      [](const StudyRow& row) { return static_cast<double>(row.evaluations); }) +
              quality(rows, "Quality by cost", {"node-hours", true},
                      [](const StudyRow& row) { return row.node_hours; }) +
              curves(results, runs) + diversities(runs);
  return heading("Scaling",
                 "Efficiency is the rank-seconds of a candidate on the fewest ranks, as a share of those on "
                 "more.") +
         differences(rows) + side_by_side(pictures) + rows_of(rows);
}

}  // namespace galapagos::report
