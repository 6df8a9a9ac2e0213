#include "legend.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

constexpr double width = 520, height = 320, left = 68, right = 16, top = 12, bottom = 46;
constexpr std::size_t most_points = 400;

bool can_be_drawn(const ChartAxis& axis, double value) {
  return std::isfinite(value) && (value > 0 || !(axis.logarithmic || !axis.only.empty()));
}

/// Without what cannot be drawn; of long series the least and the greatest of each piece.
std::vector<ChartPoint> thinned(const Chart& chart, const std::vector<ChartPoint>& points, bool line) {
  std::vector<ChartPoint> good;
  for (const ChartPoint& point : points)
    if (can_be_drawn(chart.x, point.x) && can_be_drawn(chart.y, point.y)) good.push_back(point);
  if (good.size() <= most_points || !line) return good;
  std::vector<ChartPoint> kept;
  const std::size_t piece = (2 * good.size() + most_points - 1) / most_points;
  for (std::size_t from = 0; from < good.size(); from += piece) {
    const auto begin = good.begin() + static_cast<std::ptrdiff_t>(from);
    const auto end = good.begin() + static_cast<std::ptrdiff_t>(std::min(from + piece, good.size()));
    auto [least, most] =
        std::minmax_element(begin, end, [](const ChartPoint& a, const ChartPoint& b) { return a.y < b.y; });
    if (most < least) std::swap(least, most);
    kept.push_back(*least);
    if (most != least) kept.push_back(*most);
  }
  return kept;
}

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

Scale scale_of(const ChartAxis& axis, Range range, double from, double to, bool widened) {
  if (!axis.only.empty()) return Scale::at(axis.only, from, to);
  if (axis.from_zero && !axis.logarithmic) range.add(0);
  if (axis.logarithmic) {
    const double room = std::pow(range.high / range.low, 0.04);
    return Scale::logarithmic(range.low / room, range.high * room, from, to);
  }
  return Scale::linear(range.low, range.high, from, to, 5, widened);
}

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart), svg_(width, height, chart.title) {
    Range x, y;
    for (const ChartSeries& one : chart.series) {
      points_.push_back(thinned(chart, one.points, one.line));
      for (const ChartPoint& point : points_.back()) {
        x.add(point.x);
        y.add(point.y);
        any_ = true;
      }
    }
    if (!any_) return;
    for (const double guide : chart.guides) y.add(guide);
    if (chart.diagonal) {
      const Range both{std::max(x.low, y.low), std::min(x.high, y.high)};
      diagonal_ = both.high > both.low ? both : Range{};
    }
    // Circles at the ends have room; lines go as far as the axis does.
    if (!std::ranges::all_of(chart.series, &ChartSeries::line) && !chart.x.logarithmic && x.high > x.low) {
      const double room = 0.04 * (x.high - x.low);
      if (!chart.x.from_zero) x.add(x.low - room);
      x.add(x.high + room);
    }
    x_ = scale_of(chart.x, x, left, width - right, false);
    y_ = scale_of(chart.y, y, height - bottom, top, true);
  }

  std::string str() {
    if (!any_) return "";
    draw_axes();
    for (std::size_t i = 0; i < chart_.series.size(); ++i) draw_series(i);
    return figure(chart_.title, legend(entries()), svg_.str(), chart_.note);
  }

 private:
  void draw_axes() {
    for (const double tick : y_.ticks()) {
      svg_.line(left, y_(tick), width - right, y_(tick), "grid");
      svg_.text(left - 7, y_(tick) + 4, y_.name_of(tick), Svg::Anchor::end, "tick");
    }
    svg_.line(left, height - bottom, width - right, height - bottom, "base");
    double room = -INFINITY;
    for (const double tick : x_.ticks()) {
      const double at = x_(tick);
      svg_.line(at, height - bottom, at, height - bottom + 4, "base");
      const std::string name = x_.name_of(tick);
      const double half = 3.6 * static_cast<double>(name.size());
      if (at - half < room) continue;
      svg_.text(at, height - bottom + 18, name, Svg::Anchor::middle, "tick");
      room = at + half + 4;
    }
    const std::string logarithmic = ", logarithmic";
    svg_.text((left + width - right) / 2, height - 8,
              chart_.x.title + (chart_.x.logarithmic ? logarithmic : ""), Svg::Anchor::middle, "axis");
    svg_.upright(14, (top + height - bottom) / 2, chart_.y.title + (chart_.y.logarithmic ? logarithmic : ""));
    for (const double guide : chart_.guides) svg_.line(left, y_(guide), width - right, y_(guide), "guide");
    if (chart_.diagonal && diagonal_.high > diagonal_.low)
      svg_.line(x_(diagonal_.low), y_(diagonal_.low), x_(diagonal_.high), y_(diagonal_.high), "guide");
  }

  void draw_series(std::size_t i) {
    const ChartSeries& series = chart_.series[i];
    const std::vector<ChartPoint>& points = points_[i];
    if (points.empty()) return;
    std::string style = series.strong ? "strong" : series.faint ? "faint" : "";
    if (series.dashed) style += " dashed";
    svg_.open({{"class", "series " + style},
               {"data-series", std::to_string(i)},
               {"style", series_colour(series.colour)}});
    if (series.line) {
      std::string d;
      for (const ChartPoint& point : points)
        d += fmt::format("{}{} {}", d.empty() ? "M" : "L", coordinate(x_(point.x)), coordinate(y_(point.y)));
      svg_.path(d, "curve");
    }
    for (const ChartPoint& point : points)
      svg_.circle(x_(point.x), y_(point.y), series.marks ? (series.strong ? 4 : 3) : 5,
                  series.marks ? "mark" : "hit", "", title_of(series, point));
    svg_.close();
  }

  std::string title_of(const ChartSeries& series, const ChartPoint& point) const {
    const std::string name = series.name.empty() ? "" : series.name + "\n";
    if (!point.title.empty()) return name + point.title;
    return fmt::format("{}{}: {}\n{}: {}", name, chart_.x.title, short_number(point.x, 4), chart_.y.title,
                       short_number(point.y, 5));
  }

  std::vector<LegendEntry> entries() const {
    std::vector<LegendEntry> entries;
    for (std::size_t i = 0; i < chart_.series.size(); ++i) {
      const ChartSeries& series = chart_.series[i];
      if (series.name.empty() || points_[i].empty()) continue;
      std::string swatch = series.line ? "rule" : "dot round";
      if (series.strong) swatch += " strong";
      if (series.faint) swatch += " faint";
      if (series.dashed) swatch += " dashed";
      entries.push_back({series.name, swatch, series_colour(series.colour), i, true});
    }
    if (entries.size() < 2) entries.clear();
    return entries;
  }

  const Chart& chart_;
  Svg svg_;
  Scale x_, y_;
  Range diagonal_;
  std::vector<std::vector<ChartPoint>> points_;
  bool any_ = false;
};

}  // namespace

std::string draw(const Chart& chart) {
  return Drawing(chart).str();
}

}  // namespace galapagos::report
