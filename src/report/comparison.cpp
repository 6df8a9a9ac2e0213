#include "sections.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>

namespace galapagos::report {
namespace {

/// Of an ordered series the last that had done no more than so many evaluations.
const TogetherPoint* at_evaluations(const std::vector<TogetherPoint>& points, double evaluations) {
  const TogetherPoint* found = nullptr;
  for (const TogetherPoint& point : points)
    if (static_cast<double>(point.evaluations) <= evaluations) found = &point;
  return found;
}

struct Compared {
  const RunData* run;
  std::vector<TogetherPoint> points;
};

std::string curves(const std::vector<Compared>& all) {
  double latest = 0;
  for (const Compared& one : all) latest = std::max(latest, one.points.back().elapsed);
  const TimeUnit unit = time_unit(latest);
  double low = INFINITY, high = 0;
  std::vector<ChartSeries> by_evaluations, by_time;
  for (std::size_t i = 0; i < all.size(); ++i) {
    ChartSeries first{all[i].run->name, i, {}}, second{all[i].run->name, i, {}};
    first.dashed = second.dashed = i >= 8;
    for (const TogetherPoint& point : all[i].points) {
      const std::string title = fmt::format("generation {}: {}", point.generation, decimal(point.mean_best));
      first.points.push_back({static_cast<double>(point.evaluations), point.mean_best, title});
      second.points.push_back({point.elapsed / unit.seconds, point.mean_best, title});
      low = std::min(low, point.mean_best);
      high = std::max(high, point.mean_best);
    }
    by_evaluations.push_back(std::move(first));
    by_time.push_back(std::move(second));
  }
  const ChartAxis y{"fitness, mean of islands", low > 0 && high > 6 * low};
  ChartAxis evaluations{"candidates evaluated by all islands"}, time{fmt::format("time ({})", unit.name)};
  evaluations.from_zero = time.from_zero = true;
  return side_by_side(draw(Chart{"By candidates", evaluations, y, std::move(by_evaluations)}) +
                      draw(Chart{"By time", time, y, std::move(by_time)}));
}

std::string fitness_table(const std::vector<Compared>& all) {
  double common = INFINITY;
  for (const Compared& one : all)
    common = std::min(common, static_cast<double>(one.points.back().evaluations));
  std::vector<Row> rows = {{"run", fmt::format("own fitness after {}", short_number(common)), "at its end",
                            "on common tokens", "parameters", "candidates", "time", "node-hours"}};
  for (const Compared& one : all) {
    const RunData& run = *one.run;
    const TogetherPoint* then = at_evaluations(one.points, common);
    const double parameters = run.manifest_number("best.parameters");
    rows.push_back({run.name, then == nullptr ? "" : decimal(then->mean_best),
                    decimal(one.points.back().mean_best),
                    run.comparisons.empty() ? "" : decimal(run.comparisons.rbegin()->second.fitness),
                    parameters > 0 ? whole(static_cast<std::int64_t>(parameters)) : "",
                    whole(one.points.back().evaluations), human_duration(run.seconds()),
                    short_number(run.node_hours())});
  }
  return table(rows);
}

std::string fronts(const std::vector<RunData>& runs) {
  Chart chart{"Fronts", {"parameters left"}, {"fitness (lower is better)"}, {}};
  Chart seen{"Fronts on held-out text", {"parameters left"}, {"perplexity"}, {}};
  for (const RunData& run : runs) {
    if (run.front.empty()) continue;
    ChartSeries fitness{run.name, chart.series.size(), {}}, perplexity = fitness;
    fitness.marks = perplexity.marks = true;
    for (const FrontLine& point : run.front) {
      fitness.points.push_back({static_cast<double>(point.parameters), point.fitness, ""});
      perplexity.points.push_back({static_cast<double>(point.parameters), point.perplexity, ""});
    }
    chart.series.push_back(std::move(fitness));
    seen.series.push_back(std::move(perplexity));
  }
  return chart.series.size() < 2 ? "" : side_by_side(draw(chart) + draw(seen));
}

std::string times(const std::vector<RunData>& runs) {
  const std::string rest_of_phases = "phases below 2 %";
  Bars bars{"Where the time went", {}};
  for (const RunData& run : runs) {
    if (run.phases.empty()) continue;
    if (bars.bars.size() == 24) break;
    Bars::Bar bar{run.name, {}};
    double rest = 0;
    for (const PhaseLine& phase : run.phases) {
      if (std::isnan(phase.share)) continue;
      if (phase.share < 0.02)
        rest += phase.share;
      else
        bar.parts.push_back(
            {phase.name, phase.share, fmt::format("{}: {:.1f} %", phase.name, 100 * phase.share)});
    }
    if (rest > 0.002) bar.parts.push_back({rest_of_phases, rest, ""});
    bars.bars.push_back(std::move(bar));
  }
  // In the same order in all of them.
  const auto order = [&](const std::string& name) {
    double sum = 0;
    for (const Bars::Bar& bar : bars.bars)
      for (const Bars::Part& part : bar.parts) sum += part.name == name ? part.share : 0;
    return name == rest_of_phases ? 0 : -sum;
  };
  for (Bars::Bar& bar : bars.bars)
    std::ranges::stable_sort(bar.parts, {},
                             [&](const Bars::Part& part) { return std::pair(order(part.name), part.name); });
  return bars.bars.size() < 2 ? "" : draw(bars);
}

}  // namespace

std::string comparison_section(const std::vector<RunData>& runs) {
  std::vector<Compared> all;
  for (const RunData& run : runs) {
    if (!run.front.empty()) continue;  // islands of several sizes
    Compared one{&run, together(run)};
    if (!one.points.empty()) all.push_back(std::move(one));
  }
  std::string text;
  constexpr std::size_t most_curves = 12;
  if (all.size() > 1) text = (all.size() <= most_curves ? curves(all) : "") + fitness_table(all);
  text += fronts(runs) + times(runs);
  if (text.empty()) return "";
  return heading("Runs beside each other",
                 all.size() > 1
                     ? "Each on its own tokens; fitness compares only where model, text, size and kind of "
                       "fitness are the same."
                     : "") +
         text;
}

std::string models_section(const std::vector<ModelLine>& models) {
  if (models.empty()) return "";
  ChartSeries kl{"", 0, {}}, perplexity{"", 1, {}};
  std::vector<Row> rows = {{"model", "parameters", "KL", "perplexity"}};
  for (const ModelLine& one : models) {
    const auto size = static_cast<double>(one.parameters);
    kl.points.push_back({size, one.kl, fmt::format("{}: KL {}", one.name, decimal(one.kl))});
    perplexity.points.push_back(
        {size, one.perplexity, fmt::format("{}: perplexity {}", one.name, decimal(one.perplexity))});
    rows.push_back({one.name, whole(one.parameters), decimal(one.kl), decimal(one.perplexity)});
  }
  double low = INFINITY, high = 0;
  for (const ModelLine& one : models) {
    if (!(one.perplexity > 0)) continue;
    low = std::min(low, one.perplexity);
    high = std::max(high, one.perplexity);
  }
  for (ChartSeries* series : {&kl, &perplexity}) {
    series->line = false;
    series->marks = series->strong = true;
  }
  return heading("Models beside each other") + table(rows) +
         side_by_side(
             draw(Chart{"Divergence from the unpruned model", {"parameters"}, {"KL, nats per token"}, {kl}}) +
             draw(Chart{"Perplexity", {"parameters"}, {"perplexity", high > 6 * low}, {perplexity}}));
}

}  // namespace galapagos::report
