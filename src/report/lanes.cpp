#include "legend.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/scale.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

constexpr double width = 1000, right = 16, top = 14;

class Drawing {
 public:
  explicit Drawing(const Lanes& lanes)
      : lanes_(lanes),
        pitch_(lanes.islands.size() > 16 ? 18 : 36),
        svg_(width, top + pitch_ * static_cast<double>(lanes.islands.size()) + 34, lanes.title),
        x_(Scale::linear(0, static_cast<double>(std::max<std::int64_t>(lanes.generations, 1)) + 1, left,
                         width - right, 12, false)) {
    for (std::size_t i = 0; i < lanes.islands.size(); ++i)
      lane_[lanes.islands[i]] = top + pitch_ * (static_cast<double>(i) + 0.5);
  }

  std::string str() {
    draw_lanes();
    for (const MigrationLine& one : lanes_.migrations) draw_migration(one);
    for (const Place& place : lanes_.replaced)
      if (lane_.contains(place.island))
        svg_.circle(
            x_(static_cast<double>(place.generation)), lane_[place.island], 2.2, "replaced", "",
            fmt::format("island {}, generation {}: its best was replaced", place.island, place.generation));
    draw_line();
    std::vector<LegendEntry> entries = {{"an island's best was replaced", "dot replaced", ""}};
    if (!lanes_.migrations.empty()) entries.push_back({"sent to another island", "rule sent", ""});
    if (!lanes_.line.empty()) {
      entries.push_back({"the way of the best", "rule strong", series_colour(1)});
      entries.push_back({"a new one on that way", "dot", series_colour(1)});
    }
    return figure(lanes_.title, legend(entries), svg_.str(), lanes_.note, true);
  }

 private:
  static constexpr double left = 76;

  void draw_lanes() {
    const std::size_t every = lanes_.islands.size() > 40 ? 4 : 1;
    for (std::size_t i = 0; i < lanes_.islands.size(); ++i) {
      const double y = lane_[lanes_.islands[i]];
      svg_.line(left, y, width - right, y, "grid");
      if (i % every == 0)
        svg_.text(left - 8, y + 4, fmt::format("island {}", lanes_.islands[i]), Svg::Anchor::end, "tick");
    }
    const double bottom = top + pitch_ * static_cast<double>(lanes_.islands.size());
    for (const double tick : x_.ticks())
      if (tick == std::floor(tick))
        svg_.text(x_(tick), bottom + 12, x_.name_of(tick), Svg::Anchor::middle, "tick");
    svg_.text((left + width - right) / 2, bottom + 30, "generation", Svg::Anchor::middle, "axis");
  }

  /// It arrives a generation later; bent a little, so that it does not run along the others.
  void draw_migration(const MigrationLine& one) {
    if (!lane_.contains(one.from) || !lane_.contains(one.to) || one.from == one.to) return;
    const double x1 = x_(static_cast<double>(one.generation)),
                 x2 = x_(static_cast<double>(one.generation) + 1);
    const double y1 = lane_[one.from], y2 = lane_[one.to];
    const double middle = (x1 + x2) / 2 + 0.06 * std::abs(y2 - y1);
    svg_.open({{"class", "sent"}});
    svg_.path(fmt::format("M{} {}Q{} {} {} {}", coordinate(x1), coordinate(y1), coordinate(middle),
                          coordinate((y1 + y2) / 2), coordinate(x2), coordinate(y2)),
              "arc");
    const double direction = y2 > y1 ? -1 : 1;
    svg_.path(fmt::format("M{} {}l-3.2 {}l5 {}z", coordinate(x2), coordinate(y2), coordinate(direction * 6.5),
                          coordinate(direction * -0.5)),
              "head");
    svg_.circle((x1 + x2) / 2, (y1 + y2) / 2, 5, "hit", "",
                fmt::format("generation {}: island {} to {}, fitness {}", one.generation, one.from, one.to,
                            short_number(one.fitness, 5)));
    svg_.close();
  }

  void draw_line() {
    std::string d;
    for (const Lanes::Dot& dot : lanes_.line)
      if (lane_.contains(dot.island))
        d += fmt::format("{}{} {}", d.empty() ? "M" : "L",
                         coordinate(x_(static_cast<double>(dot.generation))), coordinate(lane_[dot.island]));
    if (d.empty()) return;
    svg_.open({{"class", "series strong"}, {"style", series_colour(1)}});
    svg_.path(d, "curve");
    for (const Lanes::Dot& dot : lanes_.line)
      if (lane_.contains(dot.island))
        svg_.circle(x_(static_cast<double>(dot.generation)), lane_[dot.island],
                    dot.origin == "parent" ? 4 : 4.5, dot.origin == "parent" ? "hit" : "mark", "", dot.title);
    svg_.close();
  }

  const Lanes& lanes_;
  double pitch_;
  Svg svg_;
  Scale x_;
  std::map<std::int64_t, double> lane_;
};

}  // namespace

std::string draw(const Lanes& lanes) {
  if (lanes.islands.empty()) return "";
  return Drawing(lanes).str();
}

}  // namespace galapagos::report
