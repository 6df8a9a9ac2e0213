#include "made_up_run.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <chrono>
#include <cmath>

#include <galapagos/core/lock_holder.hpp>
#include <galapagos/report/run_reader.hpp>
#include <galapagos/report/screen.hpp>

using namespace galapagos;
using namespace galapagos::report;

namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

/// Seconds since 1970 of a file, as the reader sees them.
double age_base(const fs::path& file) {
  return std::chrono::duration<double>(
             std::chrono::file_clock::to_sys(fs::last_write_time(file)).time_since_epoch())
      .count();
}

Lines screen_of(const RunData& run, const ScreenStyle& style) {
  return screen(std::span(&run, 1), style);
}

}  // namespace

TEST_CASE("what top shows of a search that goes on", "[report]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  test::write_half_search(run);
  test::write_text(
      folder / "run.lock",
      R"({"host":"node1","process":17,"started":5,"numbering":"elsewhere","job":"","since":"2026-11-29T10:00:00Z"})");
  const auto at = fs::last_write_time(run / "metrics.jsonl");
  for (const char* name : {"config.ini", "metrics.jsonl"}) fs::last_write_time(run / name, at);
  fs::last_write_time(folder / "run.lock", at + std::chrono::seconds(5));
  const double now = age_base(run / "metrics.jsonl") + 12;
  const RunData data = read_run({run, "run"}, now);
  CHECK(standing_of(data) == Standing::running);
  const Headway way = headway_of(data);
  CHECK(way.done == 2);
  CHECK(way.of == 3);
  CHECK(way.seconds_left == Approx(20.0 / 3));  // 4 lines in 10 to 20 s
  CHECK(screen_of(data, {.width = 100, .utf8 = false}) ==
        Lines{"run  search  running  2 of 3 generations  =============------- 67 %  ETA 00:00:07",
              "             process 17 on node1, since 2026-11-29T10:00:00Z; sign of life 00:00:07 ago; last "
              "line 0",
              "  evaluated  16 candidates, 160 tokens in 00:00:20, 0.8 a second",
              "  island            best        mean   unchanged",
              "  0                 0.75         1.5             #_",
              "  1                  0.5         1.4             #_",
              "  migrations 2 in all; generation 2: 1>0 0>1",
              "  time       layers 75 %, wait 25 %, of late"});
  // Nobody touches the lock any more.
  const RunData later = read_run({run, "run"}, now + 200);
  CHECK(standing_of(later) == Standing::silent);
  // Narrow, and with colours: what is seen is cut, the colours are not.
  for (const std::string& line : screen_of(data, {.width = 20, .utf8 = false})) CHECK(line.size() <= 20);
  const Lines coloured = screen_of(data, {.width = 15, .colour = true, .utf8 = true});
  CHECK(coloured[0].starts_with("\x1b[1mrun\x1b[0m"));
  CHECK(coloured[0].find("running") == std::string::npos);  // begins at column 13 of 15
  const Lines few = screen_of(data, {.width = 80, .height = 4, .utf8 = false});
  REQUIRE(few.size() == 4);
  CHECK(few[3] == "... 5 more lines");
}

TEST_CASE("how it stands with a run", "[report]") {
  RunData run;
  run.command = "train";
  CHECK(standing_of(run) == Standing::stopped);
  run.life = {true, LockHolder::has_ended, "", 1, 1};
  CHECK(standing_of(run) == Standing::killed);
  run.life.holder = LockHolder::lives;
  CHECK(standing_of(run) == Standing::running);
  run.life = {};
  run.has_manifest = true;
  CHECK(standing_of(run) == Standing::done);
  run.options = {{"tokens", "1000", "command line"}};
  for (int i = 1; i <= 40; ++i)
    run.updates.push_back({i, 10 * i, 1.0, 0.1, 5.0, i <= 30 ? 1.0 * i : 30.0 + 2 * (i - 30)});
  // The pace of late: 10 tokens in 2 seconds; 600 are left.
  CHECK(headway_of(run).seconds_left == Approx(120));
}

TEST_CASE("sparklines", "[report]") {
  const std::vector<double> values = {9, 1, 8, std::nan(""), 4};
  CHECK(sparkline(values, 3, false) == "#?_");
  CHECK(sparkline(values, 10, false) == "#_#?-");
  CHECK(sparkline(values, 2, true) == "?▁");
  CHECK(sparkline({}, 5, true).empty());
}
