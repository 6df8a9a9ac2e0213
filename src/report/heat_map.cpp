#include "legend.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

/// Between the page's two ends of a ramp; for browsers without color-mix() the attribute's grey stands.
std::string ramp(double share) {
  return fmt::format("fill:color-mix(in oklab,var(--high) {}%,var(--low))",
                     std::lround(100 * std::clamp(share, 0.0, 1.0)));
}

double longest(const std::vector<std::string>& names) {
  std::size_t most = 0;
  for (const std::string& name : names) most = std::max(most, name.size());
  return static_cast<double>(most);
}

struct Cells {
  double width, height, left;
};

Cells cells_of(const HeatMap& map, std::size_t columns) {
  std::size_t text = 0;
  for (const auto& row : map.cells)
    for (const HeatMap::Cell& cell : row) text = std::max(text, cell.text.size());
  const double count = static_cast<double>(std::max<std::size_t>(columns, 1));
  const double wanted = text == 0 ? 5 : 8 + 6.4 * static_cast<double>(text);
  const double height = map.cells.size() > 24 ? 11 : map.cells.size() > 8 ? 16 : 24;
  return {std::clamp(960 / count, wanted, std::max(wanted, 34.0)), height, 12 + 6.4 * longest(map.rows)};
}

std::string ramp_legend(const HeatMap& map) {
  if (map.least.empty() && map.most.empty()) return "";
  return element("div", {{"class", "legend"}},
                 element("span", {},
                         escaped(map.least) + element("span", {{"class", "ramp"}}, " ") + escaped(map.most)));
}

}  // namespace

std::string draw(const HeatMap& map) {
  std::size_t columns = 0;
  for (const auto& row : map.cells) columns = std::max(columns, row.size());
  if (columns == 0) return "";
  const Cells cell = cells_of(map, columns);
  const double bottom = (map.columns.empty() ? 0 : 20) + (map.x_title.empty() ? 0 : 20);
  const double width = cell.left + cell.width * static_cast<double>(columns) + 8;
  Svg svg(width, 4 + cell.height * static_cast<double>(map.cells.size()) + bottom, map.title);
  for (std::size_t r = 0; r < map.cells.size(); ++r) {
    const double y = 2 + cell.height * static_cast<double>(r);
    const std::size_t every = cell.height < 12 ? 2 : 1;  // names need their room
    if (r < map.rows.size() && r % every == 0)
      svg.text(cell.left - 7, y + cell.height / 2 + 4, map.rows[r], Svg::Anchor::end, "tick");
    for (std::size_t c = 0; c < map.cells[r].size(); ++c) {
      const HeatMap::Cell& one = map.cells[r][c];
      const double x = cell.left + cell.width * static_cast<double>(c);
      if (std::isnan(one.share) && !one.colour) continue;
      const std::string fill = one.colour ? series_colour(*one.colour) + ";fill:var(--c)" : ramp(one.share);
      const double gap = cell.width > 8 ? 1.5 : 0;
      svg.rect(x, y, cell.width - gap, cell.height - (cell.height > 12 ? 1.5 : 0), "cell", fill, one.title);
      if (one.text.empty()) continue;
      svg.text(x + (cell.width - gap) / 2, y + cell.height / 2 + 3.5, one.text, Svg::Anchor::middle,
               one.colour || one.share > 0.55 ? "on" : "off");
    }
  }
  const double below = 2 + cell.height * static_cast<double>(map.cells.size()) + 14;
  double room = 0;
  for (std::size_t c = 0; c < std::min(columns, map.columns.size()); ++c) {
    const double at = cell.left + cell.width * (static_cast<double>(c) + 0.5);
    const double half = 3.4 * static_cast<double>(map.columns[c].size());
    if (map.columns[c].empty() || at - half < room) continue;
    svg.text(at, below, map.columns[c], Svg::Anchor::middle, "tick");
    room = at + half + 6;
  }
  if (!map.x_title.empty())
    svg.text(cell.left + cell.width * static_cast<double>(columns) / 2, below + 19, map.x_title,
             Svg::Anchor::middle, "axis");
  std::vector<LegendEntry> entries;
  for (const auto& [name, colour] : map.legend) entries.push_back({name, "dot", series_colour(colour)});
  return figure(map.title, ramp_legend(map) + legend(entries), svg.str(), map.note, true);
}

}  // namespace galapagos::report
