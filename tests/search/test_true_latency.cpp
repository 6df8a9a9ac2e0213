#include "search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <map>

#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/search/latency_goal.hpp>
#include <galapagos/search/search.hpp>

using namespace galapagos;
namespace fs = std::filesystem;

namespace {

// Searches of a small model whose whole time is made up: no sum of its parts.
struct Timed {
  const Communicator world = Communicator::world();
  test::SharedFolder folder{world};
  ops::Context context{Device::cpu, 1, DType::f32};
  DatabaseOptions built = test::small_database("llama3_tiny", folder / "x.h5");
  HfConfig config = read_hf_config(built.model);
  LatencyTable table;
  std::optional<SearchSpace> space;
  int timings = 0, fail_at = -1;
  double more_of_each = 0;  // part that is there

  Timed() {
    built.levels = 10;
    build_database(world, context, built);
    if (world.is_root())
      test::add_end_losses(built.output, [](int layer, bool ffn, int level) {
        return 0.01 * (ffn ? 1 + layer : 4 - layer) * std::pow(level, ffn ? 1.5 : 2.0);
      });
    world.barrier();
    const Checkpoint checkpoint(built.model);
    const DatabaseReader database(built.output);
    space = load_space(world, database, config, hex64(checkpoint.fingerprint()));
    for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode})
      for (const PartShape& shape : shapes_of(*space))
        table.rows.push_back({shape,
                              phase,
                              seconds(shape) * (phase == LatencyPhase::decode ? 0.1 : 1),
                              {config.hidden_size, config.head_dim, "fp32", device_text(context), 1, 32}});
    write("t.csv", table.text());
  }
  void write(const std::string& name, const std::string& text) const {
    if (world.is_root()) test::write_text(folder / name, text);
    world.barrier();
  }

  static double seconds(const PartShape& shape) {
    return shape.kind == PartKind::fixed ? 2e-3
                                         : 1e-4 * static_cast<double>(4 * shape.heads + shape.kv_heads) +
                                               3e-5 * static_cast<double>(shape.columns);
  }
  // 1.2 times the sum, 1 ms, and something for every part that is left.
  double whole(const HfConfig& model) const {
    double sum = 2e-3, parts = 0;
    for (const LayerShape& shape : model.layer_shapes) {
      for (const PartShape& part : {PartShape{PartKind::attention, shape.heads(), shape.kv_heads, 0},
                                    PartShape{PartKind::ffn, 0, 0, shape.columns}}) {
        sum += seconds(part);
        parts += part.present() ? 1 : 0;
      }
    }
    return 1.2 * sum + 1e-3 + more_of_each * parts;
  }
  double whole(const fs::path& assignment) const {
    HfConfig model = config;
    model.layer_shapes = space->shapes(config, read_assignment(*space, assignment));
    return whole(model);
  }

  SearchOptions options(const std::string& name, StrategyKind strategy) {
    SearchOptions options;
    options.model = built.model;
    options.database = built.output;
    options.calibration = built.calibration;
    options.output = folder / name;
    options.calibration_tokens = 1500;
    options.sequence_length = 64;
    options.batch_tokens = 256;
    options.precision = DType::f32;
    options.words.survivors = "2 1";
    options.words.tokens = "64 128";
    options.evolution.strategy = strategy;
    options.evolution.islands = 2;
    options.evolution.generations = 2;
    options.evolution.offspring = 4;
    options.evolution.compare_tokens = 200;
    options.evolution.racing.tokens = 128;
    options.evolution.seed = 3;
    options.target.latency_table = folder / "t.csv";
    options.target.speedup = 1.6;
    options.timer = [this](const ops::Context&, const HfConfig& model, const Timing&, LatencyPhase) {
      if (timings++ == fail_at) throw ResourceError("no room", "timer", "none");
      return whole(model);
    };
    return options;
  }
  /// The exit code; 0 where it went well.
  int run(SearchOptions options, const Communicator& comm) {
    timings = 0;
    try {
      resolve(options);
      run_search(comm, context, options);
      return 0;
    } catch (const Error& error) {
      return error.agreed() || comm.size() == 1 ? static_cast<int>(error.code()) : -1;
    }
  }
  int run(const SearchOptions& options) { return run(options, world); }
  Json manifest(const std::string& name) const {
    return parse_json(read_file(folder / name / "manifest.json"), name);
  }
  std::string left(const std::string& name) const {
    return test::content(folder / name / "best.txt") + test::content(folder / name / "latency.csv") +
           test::content(folder / name / "start.txt");
  }
  double dense() const { return whole(config); }
};

}  // namespace

TEST_CASE("a search meets a latency in truth, where the sum of parts is not it", "[true_latency]") {
  Timed timed;
  for (const double more : {0.0, 3e-4}) {
    timed.more_of_each = more;
    for (const StrategyKind strategy :
         {StrategyKind::evolution, StrategyKind::racing, StrategyKind::random, StrategyKind::sensitivity}) {
      const std::string name = name_of(strategy) + std::to_string(more);
      INFO(name);
      SearchOptions options = timed.options(name, strategy);
      CHECK(timed.run(options) == 0);
      const double target = timed.dense() / 1.6;
      const double took = timed.whole(timed.folder / name / "best.txt");
      CHECK(took <= 1.02 * target);
      const Json latency = timed.manifest(name).at("latency");
      CHECK(latency.at("target").get<double>() == Approx(target).epsilon(1e-6));
      CHECK(latency.at("whole").get<double>() == Approx(took).epsilon(1e-6));
      CHECK(latency.at("met") == true);
      CHECK(latency.at("unpruned").at("whole").get<double>() == Approx(timed.dense()).epsilon(1e-6));
      if (strategy == StrategyKind::racing && more > 0) {
        // Level by level 2 % of the whole: with all that may be there of it, no more would fit.
        CHECK(took >= 0.95 * target);
        // By the sum of parts it would be missed.
        options.output = timed.folder / "sums";
        options.time_whole = false;
        CHECK(timed.run(options) == 0);
        CHECK(timed.timings == 0);
        CHECK(timed.whole(timed.folder / "sums" / "best.txt") > 1.02 * target);
        CHECK(timed.manifest("sums").at("latency").at("untimed") == "--time-whole none");
      }
    }
  }
}

TEST_CASE("what was timed is found again, whatever stops a search and on any number of ranks",
          "[true_latency]") {
  Timed timed;
  timed.more_of_each = 5e-4;
  for (const StrategyKind strategy : {StrategyKind::evolution, StrategyKind::racing}) {
    const std::string name = name_of(strategy);
    INFO(name);
    CHECK(timed.run(timed.options(name, strategy)) == 0);
    int all = timed.timings;
    all = timed.world.broadcast_value(all);
    CHECK(all >= 3);
    const std::string found = timed.left(name);
    // It has ended: nothing is timed.
    CHECK(timed.run(timed.options(name, strategy)) == 0);
    CHECK(timed.timings == 0);
    // Nor is it gone on with where nothing can be: the table is of one thread.
    {
      const ops::Context two(Device::cpu, 2);
      CHECK(timed.run(timed.options(name, strategy)) == static_cast<int>(ExitCode::bad_input));
    }
    const ops::Context one(Device::cpu, 1);
    // On one rank.
    if (timed.world.is_root()) {
      CHECK(timed.run(timed.options(name + "-alone", strategy), Communicator::self()) == 0);
      CHECK(timed.left(name + "-alone") == found);
    }
    timed.world.barrier();
    for (int stop = 0; stop < all; ++stop) {
      INFO("stopped in timing " << stop);
      const std::string again = name + std::to_string(stop);
      timed.fail_at = stop;
      CHECK(timed.run(timed.options(again, strategy)) == static_cast<int>(ExitCode::no_resources));
      const bool begun = fs::exists(timed.folder / again / "checkpoint.h5");
      timed.world.barrier();
      timed.fail_at = -1;
      CHECK(timed.run(timed.options(again, strategy)) == 0);
      if (timed.world.is_root()) CHECK(timed.timings == (begun ? all - stop : all));
      CHECK(timed.left(again) == found);
    }
  }
}

TEST_CASE("a start that was given is timed, and made smaller where it is too slow", "[true_latency]") {
  Timed timed;
  timed.more_of_each = 3e-4;
  const double target = timed.dense() / 1.6;
  SearchOptions options = timed.options("sums", StrategyKind::racing);
  options.time_whole = false;
  CHECK(timed.run(options) == 0);  // by sums it is met
  options = timed.options("moved", StrategyKind::racing);
  options.start = (timed.folder / "sums" / "best.txt").string();
  CHECK(timed.run(options) == 0);
  CHECK(timed.whole(timed.folder / "moved" / "start.txt") <= 1.001 * target);
  CHECK(timed.whole(timed.folder / "moved" / "best.txt") <= 1.02 * target);
  // One that meets it stays as it is.
  options = timed.options("kept", StrategyKind::evolution);
  options.start = (timed.folder / "moved" / "best.txt").string();
  CHECK(timed.run(options) == 0);
  CHECK(test::content(timed.folder / "kept" / "start.txt") ==
        test::content(timed.folder / "moved" / "best.txt"));
  // One that neither sum nor truth lets pass is refused.
  options = timed.options("refused", StrategyKind::racing);
  options.start = (timed.folder / "sums" / "best.txt").string();
  options.target.speedup = 2.5;
  CHECK(timed.run(options) == static_cast<int>(ExitCode::usage));
  CHECK(!fs::exists(timed.folder / "refused" / "checkpoint.h5"));
}

TEST_CASE("what can be met is judged by whole models", "[true_latency]") {
  Timed timed;
  // By the sum of its parts the unpruned model would meet it.
  SearchOptions options = timed.options("long", StrategyKind::sensitivity);
  options.target.speedup = std::nullopt;
  options.target.latency = static_cast<std::int64_t>(0.95e9 * timed.dense());
  CHECK(timed.run(options) == 0);
  const double took = timed.whole(timed.folder / "long" / "best.txt");
  CHECK(took <= 1.02 * 0.95 * timed.dense());
  CHECK(took >= 0.9 * timed.dense());
  // And of what no model meets nothing is left.
  options = timed.options("short", StrategyKind::racing);
  options.target.speedup = std::nullopt;
  options.target.latency = 3'000'000;  // 2 ms by sums, 3.4 in truth
  CHECK(timed.run(options) == static_cast<int>(ExitCode::usage));
  CHECK(!fs::exists(timed.folder / "short" / "checkpoint.h5"));
  timed.world.barrier();
  // A dry run and a strategy that takes no start from a file times nothing.
  options = timed.options("dry", StrategyKind::racing);
  options.dry_run = true;
  CHECK(timed.run(options) == 0);
  CHECK(timed.timings == 0);
  options = timed.options("file", StrategyKind::sensitivity);
  options.start = (timed.folder / "long" / "best.txt").string();
  CHECK(timed.run(options) == static_cast<int>(ExitCode::usage));
  CHECK(timed.timings == 0);
}

TEST_CASE("whole models of a table count, and one of another device is not added to", "[true_latency]") {
  Timed timed;
  timed.more_of_each = 3e-4;
  CHECK(timed.run(timed.options("first", StrategyKind::racing)) == 0);
  const int all = timed.timings;
  // What a run has timed may be the next one's table.
  timed.write("known.csv", test::content(timed.folder / "first" / "latency.csv"));
  SearchOptions options = timed.options("second", StrategyKind::racing);
  options.target.latency_table = timed.folder / "known.csv";
  CHECK(timed.run(options) == 0);
  if (timed.world.is_root()) CHECK(timed.timings < all);
  CHECK(timed.whole(timed.folder / "second" / "best.txt") <= 1.02 * timed.dense() / 1.6);
  timed.world.barrier();
  // Another device's: its rows correct the sums, but nothing is timed.
  LatencyTable other = read_latency_table(timed.folder / "known.csv");
  for (LatencyRow& row : other.rows) row.conditions.device = "another";
  for (WholeRow& row : other.wholes) row.conditions.device = "another";
  timed.write("other.csv", other.text());
  options = timed.options("third", StrategyKind::racing);
  options.target.latency_table = timed.folder / "other.csv";
  CHECK(timed.run(options) == 0);
  CHECK(timed.timings == 0);
  CHECK(!fs::exists(timed.folder / "third" / "latency.csv"));
  const Json latency = timed.manifest("third").at("latency");
  CHECK(latency.at("target").get<double>() == Approx(timed.dense() / 1.6).epsilon(1e-6));
  CHECK(latency.at("expected").get<double>() <= latency.at("target").get<double>() * 1.000001);
  CHECK(latency.at("untimed").get<std::string>().find("'another'") != std::string::npos);
}
