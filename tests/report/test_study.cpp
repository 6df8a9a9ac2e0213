#include "support/catch.hpp"
#include "support/files.hpp"
#include "xml_check.hpp"

#include <galapagos/report/page.hpp>

using namespace galapagos;
using namespace galapagos::report;

namespace {

constexpr const char* table =
    "run,strategy,islands,offspring,ranks,seed,evaluations,tokens,seconds,node_hours,own_best,held_out_kl,"
    "held_out_perplexity,diversity,efficiency,waiting\r\n"
    "a,evolution,2,8,1,0,100,1000,100.0,0.1,0.5,0.6,2.5,3,1,0\r\n"
    "b,evolution,2,8,4,0,100,1000,31.25,0.2,0.5,0.6,2.5,3,0.8,0.1\r\n"
    "c,evolution,8,8,4,0,400,4000,125.0,0.4,0.4,,,3,0.8,0.1\r\n"
    "d,evolution,2,8,0,0,100,1000,1,1,1,1,1,1,1,1\r\n"
    "half,evol";

}  // namespace

TEST_CASE("a study's table gives efficiencies", "[report]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "results.csv", table);
  const std::vector<StudyRow> rows = read_study(folder / "results.csv");
  REQUIRE(rows.size() == 3);  // one has no ranks, one no end
  CHECK(rows[0].quality() == 0.6);
  CHECK(rows[2].quality() == 0.4);
  CHECK(is_study(rows));
  CHECK_FALSE(is_study({rows[0]}));
  const auto strong = strong_scaling(rows);
  REQUIRE(strong.size() == 1);
  REQUIRE(strong[0].points.size() == 2);
  CHECK(strong[0].points[1].ranks == 4);
  CHECK(strong[0].points[1].seconds == Approx(0.3125));
  CHECK(strong[0].points[1].efficiency == Approx(0.8));  // 1 against 4 x 0.3125 rank-seconds
  CHECK(on_fewest_ranks(rows).size() == 2);
  CHECK(differing_results(rows).empty());
  std::vector<StudyRow> other = rows;
  other[1].fitness = 0.51;
  CHECK(differing_results(other) == std::vector<std::vector<std::string>>{{"a", "b"}});
  // 16 offspring a rank on 1 and on 4 ranks.
  const auto weak = weak_scaling(rows);
  REQUIRE(weak.size() == 1);
  CHECK(weak[0].points[1].efficiency == Approx(0.8));
  const std::string page = html_report(read_report({folder / "results.csv"}, 0), 0);
  CHECK(test::xml_fault(page) == "");
  for (const char* part :
       {"the same search on more ranks", "the population grows as the ranks do", "Quality by cost"})
    CHECK(page.find(part) != std::string::npos);
}
