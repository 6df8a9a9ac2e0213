#include "legend.hpp"

#include <fmt/format.h>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {

std::string series_colour(std::size_t number) {
  return number == ink ? "--c:var(--ink)" : fmt::format("--c:var(--s{})", number % 8);
}

std::string legend(const std::vector<LegendEntry>& entries) {
  if (entries.empty()) return "";
  std::string items;
  for (const LegendEntry& entry : entries) {
    const std::string swatch =
        element("span", {{"class", "swatch " + entry.swatch}, {"style", entry.colour}}, " ");
    const std::string inside = swatch + escaped(entry.name);
    items += entry.toggles ? element("button",
                                     {{"type", "button"},
                                      {"aria-pressed", "true"},
                                      {"data-series", std::to_string(entry.series)}},
                                     inside)
                           : element("span", {}, inside);
  }
  return element("div", {{"class", "legend"}}, items);
}

std::string figure(const std::string& title, const std::string& legend, const std::string& svg,
                   const std::string& note, bool wide) {
  std::string inside = element("figcaption", {}, escaped(title)) + legend;
  inside += element("div", {{"class", "scroll"}}, svg);
  if (!note.empty()) inside += element("p", {{"class", "note"}}, escaped(note));
  return element("figure", {{"class", wide ? "wide" : "plain"}}, inside) + "\n";
}

}  // namespace galapagos::report
