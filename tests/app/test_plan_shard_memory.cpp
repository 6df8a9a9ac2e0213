#include "measured_memory.hpp"
#include "support/catch.hpp"

#include <map>
#include <string>
#include <utility>

// The memory of a rank falls with the number of ranks that hold the model together, as planned.
using namespace galapagos::test;
using galapagos::Json;

namespace {

constexpr int counts[] = {1, 2, 4};

std::string ranks_text(int ranks) {
  return std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks");
}

/// Checks that a command's rank of 2 or of 4 has the share of a single rank's memory that is planned.
class Falling {
 public:
  explicit Falling(std::string what) : what_(std::move(what)) {}

  void note(int ranks, double planned, double measured) {
    compare(what_ + ", " + ranks_text(ranks), planned, measured, 0.8, 1.2);
    planned_[ranks] = planned;
    measured_[ranks] = measured;
  }
  void check() const {
    for (const int ranks : {2, 4}) {
      INFO(what_ << ", " << ranks_text(ranks));
      const double planned = planned_.at(ranks) / planned_.at(1);
      CHECK(planned < 1);
#ifndef __SANITIZE_ADDRESS__
      CHECK(measured_.at(ranks) / measured_.at(1) == Approx(planned).epsilon(0.15));
#endif
    }
  }

 private:
  std::string what_;
  std::map<int, double> planned_, measured_;
};

}  // namespace

TEST_CASE("memory falls with shards and stages as planned", "[plan][.slow]") {
  const LargeModel model;
  const Words sizes = {"--sequence-length", "256", "--batch-tokens", "512"};
  const Words pool = {"--calibration-tokens", "1024", "--levels", "4"};
  const Words from = {"--model", model.path(), "--threads", "1"};
  const std::string tokens = model.file("tokens.bin"), database = model.file("1.h5");
  std::map<int, Held> idle;
  for (const int ranks : counts) idle[ranks] = measure_idle(ranks, model);
  const auto own = [&](int ranks, const Words& words) {
    return measure(ranks, joined({words, from})).own - idle[ranks].own;
  };

  Falling stages("database");
  for (const int ranks : counts) {
    const Words words = joined({{"database"}, sizes, pool});
    const Words files = {"--calibration", tokens, "--output", model.file(std::to_string(ranks) + ".h5")};
    stages.note(ranks, bytes(plan(model, words, ranks), "/database/memory/total"),
                own(ranks, joined({words, files})));
  }
  stages.check();

  Falling evaluation("eval");
  for (const int ranks : counts) {
    const Words words = joined({{"eval", "--tokens", "1024", "--shards", std::to_string(ranks)}, sizes});
    evaluation.note(ranks, bytes(plan(model, words, ranks), "/eval/memory/total"),
                    own(ranks, joined({words, {"--data", tokens}})));
  }
  evaluation.check();

  Falling search("search");
  for (const int ranks : counts) {
    const Words words = joined({{"search",
                                 "--shards",
                                 std::to_string(ranks),
                                 "--database",
                                 database,
                                 "--level-cache",
                                 "device",
                                 "--target-level",
                                 "2",
                                 "--generations",
                                 "1",
                                 "--offspring",
                                 "4",
                                 "--survivors",
                                 "2 1",
                                 "--tokens",
                                 "256 512",
                                 "--compare-tokens",
                                 "512",
                                 "--calibration-tokens",
                                 "1024"},
                                sizes});
    const Words files = {"--calibration", tokens, "--output", model.file("run" + std::to_string(ranks))};
    search.note(ranks, bytes(plan(model, words, ranks), "/search/memory/total"),
                own(ranks, joined({words, files})));
  }
  search.check();
}
