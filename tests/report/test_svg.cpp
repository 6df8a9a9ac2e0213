#include "support/catch.hpp"
#include "xml_check.hpp"

#include <cmath>
#include <limits>

#include <galapagos/report/chart.hpp>
#include <galapagos/report/svg.hpp>

using namespace galapagos::report;
using galapagos::test::xml_fault;

namespace {

constexpr const char* hostile = "</title><script>alert('x')</script>\" onload=\"x&\x01\xff\xEF\xBF\xBE";

}  // namespace

TEST_CASE("the check of XML finds what is wrong", "[report]") {
  CHECK(xml_fault("<a b=\"c\"><d/>e &amp; f</a>").empty());
  for (const char* bad : {"", "<a>", "<a></b>", "<a b=c/>", "<a b=\"1\" b=\"2\"/>", "<a>&</a>",
                          "<a b=\"<\"/>", "x<a/>", "<a b/>"})
    CHECK_FALSE(xml_fault(bad).empty());
}

TEST_CASE("whatever a name holds, it stays a name", "[report]") {
  CHECK(escaped("a<b>&\"c'") == "a&lt;b&gt;&amp;&quot;c&#39;");
  CHECK(escaped("Galápagos\n") == "Galápagos\n");
  CHECK(escaped("\x01\xff") == "\xEF\xBF\xBD\xEF\xBF\xBD");
  const std::string marked = element("p", {{"class", hostile}}, escaped(hostile));
  CHECK(xml_fault(marked).empty());
  CHECK(marked.find("<script") == std::string::npos);
  CHECK(marked.find("\" onload") == std::string::npos);
}

TEST_CASE("pictures are well-formed, whatever is drawn", "[report]") {
  const double nan = std::nan(""), infinite = std::numeric_limits<double>::infinity();
  ChartSeries series{hostile, 0, {{1, 2, hostile}, {nan, 3, ""}, {2, infinite, ""}, {3, -4, ""}, {4, 5, ""}}};
  for (const bool logarithmic : {false, true}) {
    const Chart chart{hostile, {hostile, logarithmic}, {"y", logarithmic}, {series, series}, {1}};
    const std::string picture = draw(chart);
    CHECK(xml_fault(picture) == "");
    CHECK(picture.find("nan") == std::string::npos);
    CHECK(picture.find("inf") == std::string::npos);
    CHECK(picture.find("<script") == std::string::npos);
    // What cannot be drawn is left out: of five points three, or two.
    std::size_t circles = 0;
    for (std::size_t at = 0; (at = picture.find("<circle", at)) != std::string::npos; ++at) ++circles;
    CHECK(circles == (logarithmic ? 4U : 6U));
  }
  CHECK(draw(Chart{"nothing", {"x"}, {"y"}, {ChartSeries{"", 0, {{nan, nan, ""}}}}}).empty());
  CHECK(draw(Chart{"none", {"x"}, {"y"}, {}}).empty());

  HeatMap map{"levels",
              {"attention", hostile},
              {{{0.5, "3", hostile}, {nan, "", ""}}, {{1, "4", "", 2}}},
              {"0", "1"},
              "layer",
              "",
              ""};
  CHECK(xml_fault(draw(map)) == "");
  CHECK(xml_fault(draw(Bars{"times", {{hostile, {{"a", 0.25, ""}, {"b", 7, ""}, {"c", nan, ""}}}}})) == "");
  const Lanes lanes{"ways",
                    {0, 3},
                    5,
                    {{1, 0, 3, 0.5}, {1, 9, 0, nan}, {1, 0, 0, 1}},
                    {{1, 0}, {2, 8}},
                    {{1, 0, hostile, "mutation"}, {2, 3, "", "parent"}}};
  CHECK(xml_fault(draw(lanes)) == "");
}

TEST_CASE("long series are thinned, and keep what stands out", "[report]") {
  ChartSeries series{"", 0, {}};
  for (int i = 0; i < 100000; ++i)
    series.points.push_back({static_cast<double>(i), i == 54321 ? 9.0 : 1.0, i == 54321 ? "the peak" : ""});
  const std::string picture = draw(Chart{"long", {"x"}, {"y"}, {series}});
  CHECK(picture.size() < 200000);
  CHECK(picture.find("the peak") != std::string::npos);
}
