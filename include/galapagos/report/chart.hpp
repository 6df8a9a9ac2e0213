#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/report/run_data.hpp>

// Pictures of the report, each a <figure> with what it shows in words, a legend where it needs one, and SVG.
namespace galapagos::report {

/// A colour of the page's style sheet, by its number; they differ for all common kinds of colour blindness.
/// From the eighth on they begin again; `ink` is that of the text.
inline constexpr std::size_t ink = ~std::size_t{0};
std::string series_colour(std::size_t number);

struct ChartPoint {
  double x = 0, y = 0;
  std::string title;  ///< under the pointer; empty: the numbers
};

struct ChartSeries {
  std::string name;        ///< empty: not in the legend
  std::size_t colour = 0;  ///< of series_colour()
  std::vector<ChartPoint> points;
  bool line = true, marks = false;  ///< marks: a circle at each point
  bool strong = false, faint = false, dashed = false;
};

struct ChartAxis {
  std::string title;
  bool logarithmic = false;
  bool from_zero = false;
  std::vector<double> only = {};  ///< ticks here and nowhere else, on logarithms: numbers of ranks
};

struct Chart {
  std::string title;
  ChartAxis x, y;
  std::vector<ChartSeries> series;
  std::vector<double> guides = {};  ///< horizontal lines
  bool diagonal = false;            ///< where y is x
  std::string note = {};            ///< below it
};

/// Numbers that are not finite, or not above zero on a logarithmic axis, are left out; empty where nothing is
/// left. Long series are thinned to what can be seen.
std::string draw(const Chart& chart);

/// A table of colours.
struct HeatMap {
  struct Cell {
    double share = unknown;  ///< of the darkest, 0 to 1; NaN: nothing is there
    std::string text, title;
    std::optional<std::size_t> colour = {};  ///< of series_colour() in place of the ramp
  };
  std::string title;
  std::vector<std::string> rows;
  std::vector<std::vector<Cell>> cells;  ///< by rows
  std::vector<std::string> columns;      ///< their names; some are left out where they are many
  std::string x_title, least, most;      ///< what the ramp's ends mean; empty: no ramp
  std::vector<std::pair<std::string, std::size_t>> legend = {};  ///< names of colours
  std::string note = {};
};
std::string draw(const HeatMap& map);

/// Shares of a whole, a bar each.
struct Bars {
  struct Part {
    std::string name;
    double share = 0;
    std::string title;
  };
  struct Bar {
    std::string name;
    std::vector<Part> parts;
  };
  std::string title;
  std::vector<Bar> bars;
  std::string note = {};
};
std::string draw(const Bars& bars);

/// Islands as lanes over generations: who sent to whom, and the way of the best.
struct Lanes {
  struct Dot {
    std::int64_t generation = 0, island = 0;
    std::string title;
    std::string origin;
  };
  std::string title;
  std::vector<std::int64_t> islands;
  std::int64_t generations = 0;
  std::vector<MigrationLine> migrations;
  std::vector<Place> replaced;  ///< where an island's best was replaced
  std::vector<Dot> line;        ///< the best's way, one for each generation
  std::string note = {};
};
std::string draw(const Lanes& lanes);

/// A figure around pictures.
std::string figure(const std::string& title, const std::string& legend, const std::string& svg,
                   const std::string& note, bool wide = false);

}  // namespace galapagos::report
