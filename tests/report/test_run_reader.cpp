#include "made_up_run.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>

#include <galapagos/core/lock_holder.hpp>
#include <galapagos/report/run_reader.hpp>

using namespace galapagos;
using namespace galapagos::report;

namespace {

RunData read(const std::filesystem::path& folder) {
  return read_run({folder, folder.filename().string()}, clock_now());
}

}  // namespace

TEST_CASE("a search that has ended is read whole", "[report]") {
  const test::TemporaryFolder folder;
  test::write_search(folder / "run");
  const RunData run = read(folder / "run");
  CHECK(run.name == "run");
  CHECK(run.command == "search");
  CHECK(run.ended());
  CHECK(run.option("model") == "tiny");
  CHECK(run.option("calibration") == "a b");
  CHECK(run.option("target-level").empty());
  CHECK(run.option_number("generations") == 3);
  CHECK(run.manifest_number("best.parameters") == 600);
  CHECK(run.manifest_number("options.offspring") == 4);
  CHECK(run.manifest_text("strategy") == "evolution");
  CHECK(run.islands.size() == 6);
  CHECK(run.islands.at({3, 0}).best == 0.45);
  CHECK(std::isnan(run.islands.at({1, 0}).surrogate_rank_correlation));
  CHECK(run.comparisons.at(3).perplexity.front().second == 3.25);
  CHECK(run.migrations.size() == 2);
  // Layer by layer, attention first, in whatever order the file has them.
  CHECK(run.best == Levels{0, 2, 2, 0});
  CHECK(run.modules[1].layer == 0);
  CHECK(run.modules[1].part == Part::ffn);
  CHECK(run.phases.size() == 2);
  CHECK(run.node_hours() == Approx(0.02));
  CHECK(joules_of(run.bill[1]) == 7.2e6);
  CHECK(run.candidates.size() == 2);
  CHECK(run.candidate_lines == 11);
  CHECK(run.unreadable_lines == 0);
  const std::vector<TogetherPoint> points = together(run);
  REQUIRE(points.size() == 3);
  CHECK(points[1].evaluations == 16);
  CHECK(points[1].mean_best == Approx(0.625));
}

TEST_CASE("half a last line waits for its end, and a file that was replaced is read anew", "[report]") {
  const test::TemporaryFolder folder;
  test::write_half_search(folder / "run");
  RunReader reader(FoundRun{folder / "run", "run"});
  CHECK(reader.refresh(clock_now()).islands.size() == 4);
  CHECK_FALSE(reader.refresh(clock_now()).ended());
  test::add_text(folder / "run" / "metrics.jsonl",
                 "kens\":99,\"best\":0.5}\nno json\n[1]\n{\"generation\":\"3\"}\n");
  const RunData& run = reader.refresh(clock_now());
  CHECK(run.islands.size() == 5);
  CHECK(run.islands.at({3, 0}).tokens == 99);
  CHECK(run.unreadable_lines == 3);
  // As a run that goes on does: fewer lines, then others.
  std::filesystem::remove(folder / "run" / "metrics.jsonl");
  CHECK(reader.refresh(clock_now()).islands.empty());
  test::write_text(folder / "run" / "metrics.jsonl", "{\"generation\":7,\"island\":5,\"best\":1}\n");
  CHECK(reader.refresh(clock_now()).islands.contains({7, 5}));
}

TEST_CASE("nothing that lies in a folder makes reading fail", "[report]") {
  const test::TemporaryFolder folder;
  CHECK(runs_below(folder.path()).empty());
  CHECK(runs_below(folder / "none").empty());
  const auto run = folder / "run";
  std::filesystem::create_directories(run / "best.txt");  // no file
  for (const char* name :
       {"config.ini", "manifest.json", "metrics.jsonl", "candidates.jsonl", "archive.jsonl", "migrations.csv",
        "watched.csv", "front.csv", "start.txt", "levels.json", "bill.jsonl", "prune.json", "rounds.json"}) {
    for (const std::string& content :
         {std::string(), std::string("\n\n"), std::string("{}\n"), std::string("[[[[\n"),
          std::string("\xff\x00\x01\n", 4),
          std::string("{\"generation\":1,\"island\":9223372036854775807,\"best\":\"x\",\"levels\":[1,-2]}\n"),
          std::string("1,2,3,4\n1,x,3,4,5\n"),
          std::string("model.layers.9999999999999999999.mlp.down_proj: 3\n: 4\n"),
          std::string("{\"phases\":3,\"best\":[],\"stages\":{}}\n"),
          std::string("{\"trial\":1,\"levels\":[99999]}\n")}) {
      test::write_text(run / name, content);
      CHECK_NOTHROW(read(run));
    }
    std::filesystem::remove(run / name);
  }
}

TEST_CASE("runs of steps and the life of a run", "[report]") {
  const test::TemporaryFolder folder;
  const auto run = folder / "pruned";
  std::filesystem::create_directories(run / "stage-1" / "model");
  std::filesystem::create_directories(run / "stage-2" / "distil");
  test::write_text(run / "stage-2" / "sensitivity.h5", "");
  test::write_text(run / "stage-2" / "distil" / "config.ini", "# galapagos distil\n");
  test::write_text(run / "stage-2" / "distil" / "metrics.jsonl",
                   "{\"layer\":0,\"error_pruned\":3,\"held_out_pruned\":4,\"error_fitted\":1,\"held_out_"
                   "fitted\":2,\"kept\":\"fitted\","
                   "\"error\":1,\"held_out\":2}\n");
  const auto runs = runs_below(folder.path());
  REQUIRE(runs.size() == 1);  // two levels deep
  REQUIRE(runs_below(run).size() == 2);
  CHECK(runs_below(run)[1].name == "pruned/stage-2/distil");
  test::write_text(folder / "pruned.lock", lock_text());
  const RunData steps = read(run);
  CHECK(steps.command == "prune");
  REQUIRE(steps.steps.size() == 10);
  CHECK(steps.steps[4].done);
  CHECK(steps.steps[5].done);
  CHECK_FALSE(steps.steps[6].done);
  CHECK(steps.life.locked);
  CHECK(steps.life.holder == LockHolder::lives);
  CHECK_FALSE(steps.ended());
  const RunData layers = read(run / "stage-2" / "distil");
  REQUIRE(layers.layers.size() == 1);
  CHECK(layers.layers[0].held_out.front() == std::pair<std::string, double>("pruned", 4));
  CHECK(layers.layers[0].chosen == 2);
  test::write_text(run / "prune.json",
                   R"({"stages":[{"model":"a","parameters":9,"kl":0.5},{"parameters":7}]})");
  const RunData done = read(run);
  CHECK(done.ended());
  REQUIRE(done.models.size() == 2);
  CHECK(done.models[0].name == "stage 1");
  CHECK(done.models[0].kl == 0.5);
}
