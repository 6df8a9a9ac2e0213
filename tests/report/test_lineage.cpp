#include "made_up_run.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/report/lineage.hpp>
#include <galapagos/report/run_reader.hpp>
#include <galapagos/report/study.hpp>

using namespace galapagos;
using namespace galapagos::report;

TEST_CASE("the best's way leads over islands back to the start", "[report]") {
  const test::TemporaryFolder folder;
  test::write_search(folder / "run");
  const RunData run = read_run({folder / "run", "run"}, 0);
  CHECK(run.parents.at({1, 0}).origin == "parent");
  CHECK(run.parents.at({2, 1}).fitness == 0.5);  // not the one without a number
  const Lineage lineage = lineage_of_best(run);
  REQUIRE(lineage.line.size() == 3);
  CHECK(lineage.of_best);
  CHECK(lineage.complete);
  // Island 1 holds it, too, but the comparison chose island 0, to which it came.
  CHECK(lineage.line[2].place == Place{3, 0});
  CHECK(lineage.line[2].origin == "immigrant");
  CHECK(lineage.line[1].place == Place{2, 1});
  CHECK(lineage.line[0].place == Place{1, 1});
  CHECK(lineage.line[0].origin == "mutation");
  // attention and ffn of layer 0 came in generation 2, those of layer 1 in generation 1.
  CHECK(places_of_levels(run, lineage) == std::vector<Place>{{2, 1}, {2, 1}, {1, 1}, {1, 1}});
  const auto apart = diversity_of(run);
  REQUIRE(apart.size() == 3);
  CHECK(apart[0].second == 2);
  CHECK(apart[2].second == 0);
}

TEST_CASE("an immigrant came from the island that held it before", "[report]") {
  RunData run;
  run.best = {3, 1};
  run.start = {1, 1};
  run.modules = {{0, Part::attention}, {0, Part::ffn}};
  run.parents[{1, 0}] = {1.0, "parent", {1, 1}};
  run.parents[{1, 1}] = {0.9, "mutation", {2, 0}};
  run.parents[{2, 0}] = {0.9, "immigrant", {2, 0}};
  run.parents[{2, 1}] = {0.9, "parent", {2, 0}};
  run.parents[{3, 0}] = {0.5, "mutation", {3, 1}};
  run.parents[{3, 1}] = {0.9, "parent", {2, 0}};
  const Lineage lineage = lineage_of_best(run);
  REQUIRE(lineage.line.size() == 3);
  CHECK(lineage.line[1].place == Place{2, 0});
  CHECK(lineage.line[1].origin == "immigrant");
  CHECK(lineage.line[0].place == Place{1, 1});
  CHECK(places_of_levels(run, lineage) == std::vector<Place>{{3, 0}, {3, 0}});
  // What was so at the start and stayed.
  run.best = run.parents[{3, 0}].levels = {3, 0};
  run.start = {1, 0};
  CHECK(places_of_levels(run, lineage_of_best(run))[1] == Place{0, -1});
  // A gap in the lines ends the way; none at all is none.
  run.parents.erase({1, 1});
  CHECK(lineage_of_best(run).line.size() == 2);
  CHECK_FALSE(lineage_of_best(run).complete);
  run.parents.clear();
  CHECK(lineage_of_best(run).line.empty());
}
