#include "measured_memory.hpp"
#include "support/catch.hpp"

// The memory that `plan` foretells for a mixture of experts against that of the program itself.
using namespace galapagos::test;
using galapagos::Json;

TEST_CASE("planned and measured memory of a mixture of experts", "[plan][.slow]") {
  const LargeModel model(true);
  const Words sizes = {"--sequence-length", "256", "--batch-tokens", "512", "--calibration-tokens", "1024"};
  const Words levels = {"--levels", "4"};
  const Words build = {"--model", model.path(), "--calibration", model.file("tokens.bin"), "--threads", "1"};
  const auto against_plan = [&](const std::string& command, int ranks, const Words& planned, const Words& run,
                                double low) {
    const Json json = plan(model, joined({{command}, planned}), ranks);
    const Held held = measure(ranks, joined({{command}, run, planned}));
    compare_tensors(command + " of a mixture, ranks: " + std::to_string(ranks),
                    bytes(json, ("/" + command + "/memory/total").c_str()), held, low);
  };
  const std::string sensitivity = model.file("s.h5"), database = model.file("x.h5");
  against_plan("sensitivity", 1, sizes, joined({{"--output", sensitivity}, build}), 0.85);
  against_plan("database", 1, joined({sizes, levels, {"--sensitivity", sensitivity}}),
               joined({{"--output", database}, build}), 0.8);
  against_plan("database", 2, joined({sizes, levels}), joined({{"--output", model.file("x2.h5")}, build}),
               0.8);
  const Words search = {"--target-sparsity", "0.5", "--only",      "ffn", "--generations", "1",
                        "--offspring",       "4",   "--survivors", "2 1", "--tokens",      "256 512",
                        "--compare-tokens",  "512"};
  against_plan("search", 1, joined({sizes, search, {"--database", database}}),
               joined({{"--output", model.file("run1")}, build}), 0.6);
  against_plan("search", 2, joined({sizes, search, {"--database", database, "--shards", "2"}}),
               joined({{"--output", model.file("run2")}, build}), 0.6);
  against_plan("search", 1, joined({sizes, search, {"--database", database, "--training-tokens", "0 512"}}),
               joined({{"--output", model.file("run3")}, build}), 0.7);
  const Words training = {"--sequence-length", "256",  "--batch-tokens", "512",
                          "--step-tokens",     "1024", "--tokens",       "2048"};
  const Words taught = {"--model", model.path(), "--data", model.file("tokens.bin"), "--threads", "1"};
  against_plan("train", 1, training, joined({{"--output", model.file("train1")}, taught}), 0.8);
  against_plan("train", 2, joined({training, {"--shards", "2", "--recompute"}}),
               joined({{"--output", model.file("train2")}, taught}), 0.7);
}
