#include "measured_memory.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

#include <iostream>

// The memory that `plan` foretells against that of the program itself.
using namespace galapagos::test;
using galapagos::Json;

TEST_CASE("planned and measured memory of searches and trainings", "[plan][.slow]") {
  const LargeModel model;
  const Words sizes = {"--sequence-length", "256", "--batch-tokens", "512", "--calibration-tokens", "1024"};
  const Held one = measure_idle(1, model), two = measure_idle(2, model);
  std::cout << "the program itself: " << one.own / (1 << 20) << " MiB, of two ranks " << two.own / (1 << 20)
            << " MiB\n";

  const Words levels = {"--levels", "4"};
  const std::string database = model.file("x.h5");
  const Words build = {"--model", model.path(), "--calibration", model.file("tokens.bin"), "--threads", "1"};
  {
    const Json json = plan(model, joined({{"database"}, sizes, levels}), 1);
    const Held held = measure(1, joined({{"database", "--output", database}, build, sizes, levels}));
    compare("database, 1 rank", bytes(json, "/database/memory/total"), held.own - one.own, 0.7, 1.25);
    compare_tensors("database, 1 rank", bytes(json, "/database/memory/total"), held, 0.9);
  }
  {
    const std::string sensitivity = model.file("s.h5");
    for (const int shards : {1, 2}) {
      const Words split = {"--shards", std::to_string(shards)};
      const std::string file = shards == 1 ? sensitivity : model.file("s2.h5");
      const Json json = plan(model, joined({{"sensitivity"}, sizes, split}), shards);
      const Held held = measure(shards, joined({{"sensitivity", "--output", file}, build, sizes, split}));
      const double planned = bytes(json, "/sensitivity/memory/total");
      compare("sensitivity, shards: " + std::to_string(shards), planned,
              held.own - (shards == 1 ? one.own : two.own), 0.7, 1.25);
      compare_tensors("sensitivity, shards: " + std::to_string(shards), planned, held, 0.9);
    }
    const Words weighed = {"--sensitivity", sensitivity};
    const Json json = plan(model, joined({{"database"}, sizes, levels, weighed}), 1);
    const Held held =
        measure(1, joined({{"database", "--output", model.file("w.h5")}, build, sizes, levels, weighed}));
    compare("database weighed by the end loss, 1 rank", bytes(json, "/database/memory/total"),
            held.own - one.own, 0.7, 1.25);
    compare_tensors("database weighed by the end loss, 1 rank", bytes(json, "/database/memory/total"), held,
                    0.9);
  }
  {
    const Json info = galapagos::parse_json(run_galapagos(1, {"info", database, "--json"}).output, "info");
    std::string text;
    for (const Json& module : info.at("modules")) text += module.at("module").get<std::string>() + ": 1\n";
    const std::string assignment = model.file("a.txt");
    write_text(assignment, text);
    {
      const Words divergence = {"--from", "kl", "--form", "diagonal", "--reference", model.path()};
      const Json json = plan(model, joined({{"sensitivity"}, sizes, divergence}), 1);
      const Held held = measure(1, joined({{"sensitivity", "--output", model.file("kl.h5"), "--database",
                                            database, "--assignment", assignment},
                                           build,
                                           sizes,
                                           divergence}));
      const double planned = bytes(json, "/sensitivity/memory/total");
      compare("sensitivity of the divergence, 1 rank", planned, held.own - one.own, 0.7, 1.25);
      compare_tensors("sensitivity of the divergence, 1 rank", planned, held, 0.5);
    }
    const Words path = {"--path", assignment, "--compensate", "auto"},
                more = {"--calibration-tokens", "8192"};
    const Words shape = {"--sequence-length", "256", "--batch-tokens", "512"};
    const Json json = plan(model, joined({{"database"}, shape, more, levels, path}), 1);
    const Held held =
        measure(1, joined({{"database", "--output", model.file("p.h5")}, build, shape, more, levels, path}));
    compare("database on a path, 1 rank", bytes(json, "/database/memory/total"), held.own - one.own, 0.7,
            1.4);
    compare_tensors("database on a path, 1 rank", bytes(json, "/database/memory/total"), held, 0.75);
    const Words refit = {"--refit", "auto"};
    const Json stitching =
        plan(model, joined({{"stitch", "--target-level", "1"}, shape, more, levels, refit}), 1);
    const Held stitched = measure(1, joined({{"stitch", "--database", database, "--assignment", assignment,
                                              "--output", model.file("refitted")},
                                             build,
                                             shape,
                                             more,
                                             refit}));
    // Counted together: the embedding, of the beginning, and the levels, of the end.
    compare("stitch with a refit, 1 rank", bytes(stitching, "/stitch/refit/memory/total"),
            stitched.own - one.own, 0.7, 2.0);
    compare_tensors("stitch with a refit, 1 rank", bytes(stitching, "/stitch/refit/memory/total"), stitched,
                    0.65);
  }
  const Words search = {"--target-level", "2",   "--generations", "1",       "--offspring",      "4",
                        "--survivors",    "2 1", "--tokens",      "256 512", "--compare-tokens", "512"};
  {
    const Words home = {"--level-cache", "file"};
    const Json json = plan(model, joined({{"search", "--database", database}, sizes, search, home}), 1);
    const Held held = measure(1, joined({{"search", "--database", database, "--output", model.file("run1")},
                                         build,
                                         sizes,
                                         search,
                                         home}));
    compare("search, levels in the file, 1 rank",
            bytes(json, "/search/memory/total") + bytes(json, "/search/memory/node_shared"),
            held.own - one.own + held.shared, 0.7, 1.25);
    compare_tensors("search", bytes(json, "/search/memory/total"), held, 0.9);
  }
  {
    const Words home = {"--level-cache", "host"};
    const Json json = plan(model, joined({{"search"}, sizes, search, levels, home}), 2);
    const Held held = measure(2, joined({{"search", "--database", database, "--output", model.file("run2")},
                                         build,
                                         sizes,
                                         search,
                                         home}));
    compare("search, levels on the host, 2 ranks of a node",
            2 * bytes(json, "/search/memory/total") + bytes(json, "/search/memory/node_shared"),
            held.sum - two.sum + held.shared, 0.7, 1.25);
    compare_tensors("search of 2 ranks", bytes(json, "/search/memory/total"), held, 0.9);
  }
  const Words training = {"--sequence-length", "256",  "--batch-tokens", "512",
                          "--step-tokens",     "1024", "--tokens",       "2048"};
  const Words taught = {"--model", model.path(), "--data", model.file("tokens.bin"), "--threads", "1"};
  {
    const Json json = plan(model, joined({{"train"}, training}), 1);
    const Held held = measure(1, joined({{"train", "--output", model.file("train1")}, taught, training}));
    compare("train on 1 rank", bytes(json, "/train/memory/total"), held.own - one.own, 0.85, 1.15);
    compare_tensors("train on 1 rank", bytes(json, "/train/memory/total"), held, 0.8);
  }
  {
    const Words reference = {"--recompute", "--reference", model.path()};
    const Json json = plan(model, joined({{"train"}, training, reference}), 2);
    const Held held =
        measure(2, joined({{"train", "--output", model.file("train2")}, taught, training, reference}));
    compare("distillation with --recompute, a rank of 2", bytes(json, "/train/memory/total"),
            held.own - two.own, 0.85, 1.15);
    compare_tensors("distillation with --recompute, a rank of 2", bytes(json, "/train/memory/total"), held,
                    0.8);
  }
  for (const int ranks : {1, 2}) {
    const Words distilling = {"--sequence-length", "256",       "--batch-tokens", "512",
                              "--step-tokens",     "1024",      "--tokens",       "6000",
                              "--reference",       model.path()};
    const Json json = plan(model, joined({{"distil"}, distilling}), ranks);
    const Held held = measure(
        ranks,
        joined({{"distil", "--output", model.file("distil" + std::to_string(ranks))}, taught, distilling}));
    compare("distil, " + std::to_string(ranks) + " ranks", bytes(json, "/distil/memory/total"),
            held.own - (ranks == 1 ? one.own : two.own), 0.7, 1.3);
    compare_tensors("distil", bytes(json, "/distil/memory/total"), held, 0.8);
  }
}

TEST_CASE("planned and measured memory of generating", "[plan][.slow]") {
  const LargeModel model;
  for (const int shards : {1, 2}) {
    const Words generating = {"--samples",        "8",   "--batch",  "4",
                              "--max-new-tokens", "200", "--shards", std::to_string(shards)};
    const Json json = plan(model, joined({{"generate"}, generating}), shards);
    const Held held =
        measure(shards, joined({{"generate", "--model", model.path(), "--output",
                                 model.file("g" + std::to_string(shards) + ".jsonl"), "--threads", "1"},
                                generating}));
    compare_tensors("generate, shards: " + std::to_string(shards), bytes(json, "/generate/memory/total"),
                    held, 0.85);
  }
}
