#include "sections.hpp"

#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/text.hpp>
#include <galapagos/report/scale.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {

std::string table(const std::vector<Row>& rows, bool numbers) {
  if (rows.size() < 2) return "";
  const auto marked = [&](const char* name, const Row& row) {
    std::string cells;
    for (std::size_t c = 0; c < row.size(); ++c)
      cells +=
          element(name, numbers && c > 0 ? Attributes{{"class", "number"}} : Attributes{}, escaped(row[c]));
    return element("tr", {}, cells);
  };
  std::string text = rows.front().empty() ? "" : element("thead", {}, marked("th", rows.front()));
  text += "<tbody>";
  for (std::size_t r = 1; r < rows.size(); ++r) text += marked("td", rows[r]);
  return element("div", {{"class", "scroll"}}, element("table", {}, text + "</tbody>")) + "\n";
}

std::string tiles(const std::vector<Tile>& all) {
  std::string text;
  for (const Tile& tile : all) {
    if (tile.value.empty()) continue;
    std::string inside = element("dt", {}, escaped(tile.name)) + element("dd", {}, escaped(tile.value));
    if (!tile.note.empty()) inside += element("dd", {{"class", "note"}}, escaped(tile.note));
    text += element("div", {}, inside);
  }
  return element("dl", {{"class", "tiles"}}, text) + "\n";
}

std::string heading(const std::string& text, const std::string& explanation) {
  return element("h3", {}, escaped(text)) +
         (explanation.empty() ? "" : element("p", {{"class", "lead"}}, escaped(explanation))) + "\n";
}

std::string side_by_side(const std::string& pictures) {
  return pictures.empty() ? "" : element("div", {{"class", "side"}}, pictures) + "\n";
}

std::string energy(double joules) {
  if (!(joules > 0)) return "";
  if (joules < 1e3) return short_number(joules) + " J";
  return joules < 1e6 ? short_number(joules / 1e3) + " kJ" : short_number(joules / 3.6e6) + " kWh";
}

std::string whole(std::int64_t number) {
  return number < 0 ? "" : human_count(static_cast<std::uint64_t>(number));
}

std::string decimal(double number, int digits) {
  return std::isnan(number) ? "" : fmt::format("{:.{}g}", number, digits);
}

}  // namespace galapagos::report
