#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::run_galapagos;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

const fs::path& model() {
  static const fs::path folder = test::data_file("models/llama3_tiny");
  return folder;
}

Words on_text(Words words) {
  words.insert(words.end(),
               {"--model", model().string(), "--calibration", test::data_file("text/sample.jsonl").string(),
                "--sequence-length", "128", "--batch-tokens", "512", "--threads", "1"});
  return words;
}

Words prune_words(const fs::path& output, const Words& more = {}) {
  Words words = on_text({"prune", "--target-sparsity", "0.4", "--stages", "2", "--held-out",
                         test::data_file("text/sample.jsonl").string(), "--output", output.string()});
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Json info_of(const fs::path& path) {
  return parse_json(run_galapagos(1, {"info", path.string(), "--json"}).output, "info");
}

Json stages_of(const fs::path& output) {
  return parse_json(read_file(output / "prune.json"), "prune.json").at("stages");
}

Words steps_of(const test::TemporaryFolder& folder) {
  test::write_text(folder / "steps.ini",
                   "[database]\nlevels = 4\n[sensitivity]\ncalibration-tokens = 2000\n[distil]\nepochs = "
                   "1\nlearning-rate = 2e-4\n");
  return {"--config", (folder / "steps.ini").string()};
}

}  // namespace

TEST_CASE("a model is pruned in stages, stopped or not", "[prune]") {
  const test::TemporaryFolder folder;
  const Words config = steps_of(folder);
  const test::Ended whole = run_galapagos(2, prune_words(folder / "whole", config));
  INFO(whole.errors);
  REQUIRE(whole.code == 0);
  const Json stages = stages_of(folder / "whole");
  REQUIRE(stages.size() == 2);
  const Json dense = info_of(model());
  const double total = dense.at("parameters").get<double>();
  const double prunable = dense.at("parameters_in_layers").get<double>() - 2 * 4 * 64;  // less the norms
  for (std::size_t i = 0; i < 2; ++i) {
    const fs::path left = i == 0 ? folder / "whole" / "stage-1" / "model" : folder / "whole" / "model";
    CHECK(stages[i].at("model") == left.string());
    const Json info = info_of(left);
    const auto parameters = info.at("parameters").get<double>();
    CHECK(stages[i].at("parameters") == parameters);
    // Half of it goes in each stage; a step of a level is less than a seventh of that.
    const double most = total - 0.2 * static_cast<double>(i + 1) * prunable;
    CHECK(parameters <= most);
    CHECK(parameters > most - 0.03 * prunable);
    CHECK(test::count_lines(whole.output, left.string()) == 1);
    const test::Ended measured = run_galapagos(
        1, {"eval", "--model", left.string(), "--data", test::data_file("text/sample.jsonl").string(),
            "--reference", model().string(), "--sequence-length", "128", "--json"});
    INFO(measured.errors);
    CHECK(parse_json(measured.output, "eval").at("kl").get<double>() ==
          Approx(stages[i].at("kl").get<double>()).epsilon(1e-4));
  }
  // The last counts heads and columns in the numbers of the first model.
  const Json left = parse_json(read_file(folder / "whole" / "model" / "pruning.json"), "pruning.json");
  CHECK(left.at("layers").size() == dense.at("layers").get<std::size_t>());
  // Of the files of a stage nothing is kept but what later stages read.
  for (const char* gone : {"stage-1/database.h5", "stage-1/pruned", "stage-2/sensitivity.h5",
                           "stage-2/database.h5", "stage-2/pruned", "stage-1/distil/model"})
    CHECK_FALSE(fs::exists(folder / "whole" / gone));
  CHECK(fs::exists(folder / "whole" / "stage-1" / "sensitivity.h5"));

  // Stopped within steps and between them; a collection of Hessians has to fit in.
  Words stopped = config;
  stopped.insert(stopped.end(), {"--max-walltime", "3"});
  int stops = 0;
  test::Ended ended;
  do {
    ended = run_galapagos(2, prune_words(folder / "stopped", stopped));
  } while (ended.code == 75 && ++stops < 40);
  INFO(ended.errors);
  CHECK(ended.code == 0);
  CHECK(read_file(folder / "stopped" / "model" / "model.safetensors") ==
        read_file(folder / "whole" / "model" / "model.safetensors"));

  // Gone again, all of it is there; with other options it is another run's.
  const test::Ended done = run_galapagos(2, prune_words(folder / "whole", config));
  CHECK(done.code == 0);
  CHECK(test::count_lines(done.errors, "is complete already") == 1);
  CHECK(whole.output.ends_with(done.output));
  const auto with = [&](const Words& more) {
    Words words = config;
    words.insert(words.end(), more.begin(), more.end());
    return [all = prune_words(folder / "whole", words)](int) { return all; };
  };
  test::check_refused({{with({"--resume", "no"}), 3, "there is a run of stages already", {}},
                       {with({"--calibration-tokens", "100"}), 3, "calibration-tokens", {}}});
}

TEST_CASE("stages are the commands that they are made of", "[prune][.slow]") {
  const test::TemporaryFolder folder;
  const Words config = steps_of(folder);
  Words words = prune_words(folder / "run", config);
  *std::find(words.begin(), words.end(), "2") = "1";
  words.emplace_back("--keep-files");
  const test::Ended ended = run_galapagos(2, words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  const auto hand = [&](Words step) {
    step.insert(step.end(), config.begin(), config.end());
    const test::Ended one = run_galapagos(2, step);
    INFO(one.errors);
    CHECK(one.code == 0);
  };
  const auto file = [&](const char* name) { return (folder / name).string(); };
  hand(on_text({"sensitivity", "--output", file("s.h5")}));
  hand(on_text({"database", "--sensitivity", file("s.h5"), "--output", file("d.h5")}));
  // The size at which a stage ends is the one that the whole asks for.
  CHECK(run_galapagos(1, {"assign", "--model", model().string(), "--database", file("d.h5"),
                          "--target-sparsity", "0.4", "--output", file("a.txt")})
            .code == 0);
  CHECK(read_file(file("a.txt")) == read_file(folder / "run" / "stage-1" / "assignment.txt"));
  CHECK(run_galapagos(2, {"stitch", "--model", model().string(), "--database", file("d.h5"), "--assignment",
                          file("a.txt"), "--output", file("pruned")})
            .code == 0);
  hand({"distil", "--model", file("pruned"), "--reference", model().string(), "--data",
        test::data_file("text/sample.jsonl").string(), "--sequence-length", "128", "--batch-tokens", "512",
        "--threads", "1", "--sensitivity", file("s.h5"), "--output", file("distil")});
  CHECK(read_file(folder / "distil" / "model" / "model.safetensors") ==
        read_file(folder / "run" / "model" / "model.safetensors"));
  CHECK(fs::exists(folder / "run" / "stage-1" / "database.h5"));
}

TEST_CASE("a stage that has no more to do is passed over", "[prune]") {
  const test::TemporaryFolder folder;
  // A level of these removes more than a stage asks for.
  test::write_text(folder / "steps.ini",
                   "precision = bf16\n[prune]\nstages = 12\n[database]\nlevels = 1\n[sensitivity]\n"
                   "calibration-tokens = 2000\n[distil]\nepochs = 0\n");
  Words words = on_text({"prune", "--target-sparsity", "0.2", "--output", (folder / "run").string(),
                         "--precision", "fp32", "--config", (folder / "steps.ini").string()});
  const test::Ended ended = run_galapagos(2, words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  const Json stages = stages_of(folder / "run");
  CHECK(stages.size() < 12);
  const Json& last = stages.back();
  CHECK(last.at("model") == (folder / "run" / "model").string());
  CHECK(info_of(folder / "run" / "model").at("parameters") == last.at("parameters"));
  // The command line goes before what stands above the sections.
  const std::string resolved = read_file(folder / "run" / "stage-1" / "distil" / "config.ini");
  CHECK(test::count_lines(resolved, "precision = fp32") == 1);
}

TEST_CASE("what stands above the sections leaves a step its own", "[prune]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "steps.ini",
                   "batch-tokens = 512\n[prune]\nstages = 1\n[database]\nlevels = 4\nbatch-tokens = 256\n"
                   "[sensitivity]\ncalibration-tokens = 500\n[distil]\nepochs = 0\n");
  const test::Ended ended = run_galapagos(
      1, {"prune", "--target-sparsity", "0.2", "--output", (folder / "run").string(), "--model",
          model().string(), "--calibration", test::data_file("text/sample.jsonl").string(),
          "--sequence-length", "128", "--threads", "1", "--config", (folder / "steps.ini").string()});
  INFO(ended.errors);
  CHECK(ended.code == 2);  // a file that says a thing twice is refused by the step itself, as it is by hand
  CHECK_FALSE(fs::exists(folder / "run"));
  // The recipe that we ship is one for each of its commands.
  for (const char* command : {"prune", "rounds", "sensitivity", "database", "distil"}) {
    const test::Ended shipped = run_galapagos(
        1, {command, "--config", test::data_file("../../config/end-loss.ini").string(), "--print-config"});
    INFO(shipped.errors);
    CHECK(shipped.code == 0);
  }
}

TEST_CASE("what prune refuses before it begins", "[prune]") {
  const test::TemporaryFolder folder;
  int number = 0;
  const auto refuse = [&](const Words& more, int code, const std::string& reason) {
    const fs::path output = folder / fmt::format("r{}", ++number);
    return test::Refusal{[words = prune_words(output, more)](int) { return words; }, code, reason,
                         output / "stage-1"};
  };
  test::write_text(folder / "path.ini", "[database]\npath = x.txt\n");
  test::write_text(folder / "reference.ini", "[distil]\nreference = x\n");
  test::write_text(folder / "rate.ini", "[distil]\nlearning-rate = -1\n");
  test::write_text(folder / "dry.ini", "[sensitivity]\ndry-run = true\n");
  test::write_text(folder / "list.ini", "[database]\nffn-removed = 0 32 160\n");
  const auto from = [&](const char* name) { return Words{"--config", (folder / name).string()}; };
  test::check_refused(
      {refuse({"--target-params", "1000"}, 2, "not one target"),
       refuse({"--target-level", "2"}, 2, "target-level"),
       refuse({"--held-out", (folder / "nothing.jsonl").string()}, 3, "nothing.jsonl"),
       refuse(from("path.ini"), 2, "[database] path"), refuse(from("reference.ini"), 2, "[distil] reference"),
       refuse(from("rate.ini"), 2, "--learning-rate"), refuse(from("dry.ini"), 2, "[sensitivity] dry-run"),
       refuse(from("list.ini"), 2, "[database] ffn-removed")});
  // A folder with another run's model is left alone; a missing text is found before the folder is made.
  fs::create_directories(folder / "other" / "model");
  Words missing = prune_words(folder / "missing");
  *std::find(missing.begin(), missing.end(), test::data_file("text/sample.jsonl").string()) = "nothing.jsonl";
  test::check_refused({{[&](int) { return prune_words(folder / "other"); }, 3, "something of another run",
                        folder / "other" / "stage-1"},
                       {[&](int) { return missing; }, 3, "nothing.jsonl", folder / "missing"}});
  // A run whose first step is refused does not hold its folder.
  test::write_text(folder / "many.ini", "[sensitivity]\ncalibration-tokens = 10000000\n");
  test::check_refused(
      {{[&](int) { return prune_words(folder / "short", from("many.ini")); }, 3, "too short", {}}});
  Words enough = prune_words(folder / "short", steps_of(folder));
  *std::find(enough.begin(), enough.end(), "2") = "1";
  CHECK(run_galapagos(2, enough).code == 0);
  const auto instead = [&](const char* old, const Words& with) {
    return [=, &folder](int) {
      Words words = prune_words(folder / "instead");
      const auto found = std::find(words.begin(), words.end(), old);
      words.erase(found, found + 2);
      words.insert(words.end(), with.begin(), with.end());
      return words;
    };
  };
  test::check_refused(
      {{instead("--stages", {"--stages", "0"}), 2, "--stages", folder / "instead"},
       {instead("--target-sparsity", {"--target-sparsity", "1.5"}), 2, "--target-sparsity",
        folder / "instead"},
       {instead("--target-sparsity", {"--target-params", "100000000"}), 2, "--target-params",
        folder / "instead"},
       {instead("--target-sparsity", {"--target-params", "3"}), 2, "--target-params", folder / "instead"},
       {instead("--target-sparsity", {"--target-sparsity", "1e-7"}), 2, "--stages", folder / "instead"}});
}
