#include "sections.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>

namespace galapagos::report {
namespace {

constexpr std::size_t most_coloured = 7;

/// Where the greatest is more than so many times the least, small differences at the end need a logarithm.
bool spread(const std::vector<ChartSeries>& series) {
  double low = INFINITY, high = 0;
  for (const ChartSeries& one : series) {
    for (const ChartPoint& point : one.points) {
      if (!std::isfinite(point.y)) continue;
      low = std::min(low, point.y);
      high = std::max(high, point.y);
    }
  }
  return low > 0 && high > 6 * low;
}

enum class Over { evaluations, time };

std::vector<ChartSeries> series_over(const RunData& run, Over over, double unit) {
  const std::vector<std::int64_t> numbers = run.island_numbers();
  const bool many = numbers.size() > most_coloured;
  std::vector<ChartSeries> all;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    ChartSeries one;
    one.name = !many ? fmt::format("island {}", numbers[i]) : i == 0 ? "islands" : "";
    one.colour = many ? 0 : i;
    one.faint = many || numbers.size() > 1;
    for (const auto& [place, line] : run.islands) {
      if (place.island != numbers[i]) continue;
      const double x = over == Over::time ? line.elapsed / unit : static_cast<double>(line.evaluations);
      one.points.push_back(
          {x, line.best,
           fmt::format("island {}, generation {}\nbest {}, mean {}\n{} candidates", place.island,
                       place.generation, decimal(line.best), decimal(line.mean), line.evaluations)});
    }
    all.push_back(std::move(one));
  }
  const std::vector<TogetherPoint> points = together(run);
  const auto islands = static_cast<double>(numbers.size());
  const auto x_of = [&](const TogetherPoint& point) {
    return over == Over::time ? point.elapsed / unit : static_cast<double>(point.evaluations) / islands;
  };
  if (numbers.size() > 1 && run.front.empty()) {  // whose islands have several sizes
    ChartSeries mean{"mean of the islands", ink, {}};
    mean.strong = true;
    for (const TogetherPoint& point : points)
      mean.points.push_back({x_of(point), point.mean_best,
                             fmt::format("generation {}: {}", point.generation, decimal(point.mean_best))});
    all.push_back(std::move(mean));
  }
  ChartSeries compared{"best on the common tokens", ink, {}};
  compared.line = false;
  compared.marks = compared.strong = true;
  for (const TogetherPoint& point : points) {
    const auto found = run.comparisons.find(point.generation);
    if (found == run.comparisons.end()) continue;
    compared.points.push_back({x_of(point), found->second.fitness,
                               fmt::format("generation {}: {}, island {}", point.generation,
                                           decimal(found->second.fitness), found->second.best_island)});
  }
  all.push_back(std::move(compared));
  return all;
}

std::string watched(const RunData& run) {
  std::map<std::int64_t, ChartSeries> by_island;
  for (const WatchedLine& line : run.watched) {
    ChartSeries& one = by_island[line.island];
    one.name = fmt::format("island {}", line.island);
    one.marks = true;
    one.points.push_back({static_cast<double>(line.generation), line.fitness, ""});
  }
  Chart chart{"Incumbents on what is held back", {"generation"}, {"fitness"}, {}};
  for (auto& [island, series] : by_island) {
    series.colour = chart.series.size();
    chart.series.push_back(std::move(series));
  }
  return draw(chart);
}

/// Mean over the islands after each generation, of a number that each says.
ChartSeries mean_of(const RunData& run, std::string name, std::size_t colour, double IslandLine::*member) {
  std::map<std::int64_t, std::pair<double, double>> sums;
  for (const auto& [place, line] : run.islands) {
    if (!std::isfinite(line.*member)) continue;
    sums[place.generation].first += line.*member;
    sums[place.generation].second += 1;
  }
  ChartSeries series{std::move(name), colour, {}};
  for (const auto& [generation, sum] : sums)
    series.points.push_back({static_cast<double>(generation), sum.first / sum.second, ""});
  return series;
}

}  // namespace

std::string fitness_section(const RunData& run) {
  if (run.islands.empty()) return "";
  double latest = 0;
  for (const auto& [place, line] : run.islands)
    if (line.elapsed > latest) latest = line.elapsed;
  const TimeUnit unit = time_unit(latest);
  std::vector<ChartSeries> by_evaluations = series_over(run, Over::evaluations, 1);
  std::vector<ChartSeries> by_time = series_over(run, Over::time, unit.seconds);
  const bool logarithmic = spread(by_evaluations);
  const bool several = run.island_numbers().size() > 1;
  const std::string x = several ? "candidates evaluated per island" : "candidates evaluated";
  const ChartAxis y{"fitness (lower is better)", logarithmic};
  ChartAxis evaluations{x}, time{fmt::format("time ({})", unit.name)};
  evaluations.from_zero = time.from_zero = true;
  return heading("Fitness",
                 "What each island holds after a generation, measured on that generation's own tokens; "
                 "comparisons "
                 "measure all islands' best on the same ones.") +
         side_by_side(draw(Chart{"By candidates", evaluations, y, std::move(by_evaluations)}) +
                      draw(Chart{"By time", time, y, std::move(by_time)}) + watched(run));
}

std::string prediction_section(const RunData& run) {
  ChartSeries predicted{"sum of end losses", 0, {}}, surrogate{"surrogate", 1, {}};
  for (ChartSeries* series : {&predicted, &surrogate}) {
    series->line = false;
    series->marks = series->faint = true;
  }
  double low = INFINITY, high = 0;
  for (const CandidatePoint& point : run.candidates) {
    predicted.points.push_back({point.predicted, point.fitness, ""});
    surrogate.points.push_back({point.surrogate, point.fitness, ""});
    for (const double value : {point.predicted, point.surrogate, point.fitness}) {
      if (!(value > 0)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  const bool logarithmic = high > 6 * low;
  Chart scatter{"Expected and measured, first stage",
                {"expected", logarithmic},
                {"measured fitness", logarithmic},
                {std::move(predicted), std::move(surrogate)}};
  scatter.diagonal = true;
  scatter.note =
      "Measured on few tokens each. On the line what was expected is what was measured; for the search only "
      "the order counts.";
  Chart ranks{"Rank correlation over the offspring",
              {"generation"},
              {"rank correlation, mean of islands"},
              {mean_of(run, "sum of end losses", 0, &IslandLine::rank_correlation),
               mean_of(run, "surrogate", 1, &IslandLine::surrogate_rank_correlation)},
              {0, 1}};
  const std::string pictures = (run.candidates.empty() ? "" : draw(scatter)) + draw(ranks);
  if (pictures.empty()) return "";
  std::string said;
  const double all = run.manifest_number("rank_correlation"),
               corrected = run.manifest_number("surrogate_rank_correlation");
  if (!std::isnan(all))
    said = fmt::format(
               "Spearman's rank correlation with what was measured, over the whole run: {:.3f} for the sum "
               "of end losses",
               all) +
           (std::isnan(corrected) ? "." : fmt::format(", {:.3f} for the surrogate.", corrected));
  return heading("Predicted and measured", said) + side_by_side(pictures);
}

std::string front_section(const RunData& run) {
  if (run.front.empty()) return "";
  ChartSeries fitness{"", 0, {}}, perplexity{"", 1, {}};
  std::vector<Row> rows = {{"sparsity", "parameters", "fitness", "perplexity", "file"}};
  for (const FrontLine& point : run.front) {
    const auto size = static_cast<double>(point.parameters);
    fitness.points.push_back(
        {size, point.fitness, fmt::format("sparsity {}: {}", point.sparsity, decimal(point.fitness))});
    perplexity.points.push_back({size, point.perplexity, ""});
    rows.push_back({decimal(point.sparsity), whole(point.parameters), decimal(point.fitness),
                    decimal(point.perplexity), point.file});
  }
  fitness.marks = perplexity.marks = true;
  return heading("Front", "What is lost at each size; each is an assignment of its own.") + table(rows) +
         side_by_side(
             draw(Chart{"Fitness by size", {"parameters left"}, {"fitness (lower is better)"}, {fitness}}) +
             draw(Chart{"Perplexity by size", {"parameters left"}, {"perplexity"}, {perplexity}}));
}

}  // namespace galapagos::report
