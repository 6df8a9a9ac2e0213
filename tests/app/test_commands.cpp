#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/small_run.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/token_file.hpp>

using namespace galapagos;
using test::run_galapagos;

TEST_CASE("versions, help and resolved options, printed once", "[app]") {
  const test::Ended version = run_galapagos(2, {"--version"});
  CHECK(version.code == 0);
  CHECK(test::count_lines(version.output, "galapagos " + galapagos::version()) == 1);
  for (const char* part : {"compiler", "MPI", "HDF5", "BLAS", "CUDA"})
    CHECK(test::count_lines(version.output, part) >= 1);
  CHECK(run_galapagos(1, {"--help"}).code == 0);
  const test::Ended help = run_galapagos(2, {"database", "--help"});
  CHECK(help.code == 0);
  CHECK(test::count_lines(help.output, "--rel-damp") == 1);
  const test::Ended config = run_galapagos(1, {"database", "--levels", "7", "--print-config"});
  CHECK(config.code == 0);
  CHECK(test::count_lines(config.output, "levels = 7") == 1);
  for (const char* tuning : {"# cpu obs_block = ", "# cpu logit_tile = "})
    CHECK(test::count_lines(config.output, tuning) == 1);
  const test::TemporaryFolder folder;
  test::write_text(folder / "again.ini", config.output);
  CHECK(run_galapagos(1, {"database", "--config", (folder / "again.ini").string(), "--print-config"}).code ==
        0);
}

TEST_CASE("the reference has the options of every command", "[app]") {
  const test::Ended all = run_galapagos(2, {"help", "--all"});
  CHECK(all.code == 0);
  for (const char* command :
       {"sensitivity", "database", "assign", "search", "prune", "rounds", "stitch", "eval", "generate",
        "distil", "train", "tokenize", "plan", "info", "convert", "top", "report", "plan collectives"})
    CHECK(test::count_lines(all.output, std::string("galapagos ") + command + ": ") == 1);
  for (const char* line : {
           "  --islands               1                    decides  subpopulations [1 or more]",
           "  --fitness               kl                   decides  kl, sparse_kl, tv or ppl",
           "  --target-sparsity                            decides  or: this share of the prunable",
           "  --max-walltime          0                             stop in time to resume",
           "  --tokens                required             decides  to train on; a shorter text is read "
           "again",
           "  --shard-size            5G                            most bytes of one file of the model",
       })
    CHECK(all.output.find(line) != std::string::npos);
  const test::Ended one = run_galapagos(1, {"stitch", "--print-options"});
  CHECK(one.code == 0);
  CHECK(all.output.find(one.output) != std::string::npos);
}

TEST_CASE("a run is watched, and reported on a page", "[app]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path run = folder / "run", page = folder / "page.html";
  std::filesystem::create_directory(run);
  test::write_text(run / "config.ini", "# galapagos search\n# default\ngenerations = 4\n");
  test::write_text(
      run / "metrics.jsonl",
      "{\"generation\":1,\"island\":0,\"evaluations\":8,\"tokens\":64,\"best\":0.25,\"elapsed\":2}\n{\"gen");
  const test::Ended watched = run_galapagos(2, {"top", run.string()});
  CHECK(watched.code == 0);
  CHECK(test::count_lines(watched.output, "run  search  stopped  1 of 4 generations") == 1);
  CHECK(watched.output.find('\x1b') == std::string::npos);
  CHECK(run_galapagos(1, {"report", run.string(), run.string(), "--output", page.string()}).code == 0);
  CHECK(read_file(page).starts_with("<!DOCTYPE html>"));
  for (const char* command : {"top", "report"}) {
    CHECK(run_galapagos(1, {command}).code == 2);
    const test::Ended none = run_galapagos(1, {command, (folder / "none").string()});
    CHECK(none.code == 3);
    CHECK(test::count_lines(none.errors, "there is no such") == 1);
  }
}

TEST_CASE("from text to tokens, a database and an evaluation", "[app]") {
  const test::TemporaryFolder folder;
  const std::string model = test::data_file("models/qwen2_tiny").string(),
                    text = test::data_file("text/sample.jsonl").string();
  const std::string tokens = (folder / "sample.bin").string(), database = (folder / "x.h5").string();
  CHECK(run_galapagos(3, {"tokenize", "--tokenizer", model, "--input", text, "--output", tokens}).code == 0);

  // Text and its tokens give the same numbers.
  const test::Ended from_text = run_galapagos(1, {"eval", "--model", model, "--data", text, "--json"});
  const test::Ended from_tokens = run_galapagos(3, {"eval", "--model", model, "--data", tokens, "--json"});
  CHECK(from_text.code == 0);
  CHECK(from_text.output == from_tokens.output);
  const Json result = parse_json(from_text.output, "eval");
  CHECK(result.at("sequences") == 300);
  CHECK(result.at("perplexity").get<double>() > 1);

  CHECK(test::count_lines(from_tokens.errors, "seconds by phase and rank") == 1);

  std::vector<std::string> sharded = {"eval", "--model", model, "--data", tokens, "--shards", "2", "--json"};
  const test::Ended checked = run_galapagos(2, sharded);
  CHECK(checked.code == 0);
  CHECK(test::count_lines(checked.errors, "what 2 ranks exchange arrives as it is") == 1);
  sharded.emplace_back("--no-collectives-check");
  const test::Ended unchecked = run_galapagos(2, sharded);
  CHECK(unchecked.output == checked.output);
  CHECK(test::count_lines(unchecked.errors, "arrives as it is") == 0);

  const test::Ended built = run_galapagos(
      2, {"database", "--model", model, "--calibration", tokens, "--output", database, "--levels", "3"});
  CHECK(built.code == 0);
  for (const char* phase :
       {"reading", "collecting Hessians", "communicating", "pruning", "writing", "waiting"})
    CHECK(test::count_lines(built.errors, std::string("info   ") + phase) == 1);
  const test::Ended info = run_galapagos(2, {"info", database, "--json", "--verify"});
  CHECK(info.code == 0);
  const Json json = parse_json(info.output, "info");
  CHECK(json.at("complete") == true);
  CHECK(json.at("levels").at("ffn").size() == 4);
  CHECK(json.at("modules").size() == 6);
  CHECK(json.at("modules")[1].at("loss").back().get<double>() > 0);
  const test::Ended table = run_galapagos(1, {"info", database});
  CHECK(test::count_lines(table.output, "loss of") == 2);
  CHECK(parse_json(run_galapagos(1, {"info", model, "--json"}).output, "info").at("layers") == 3);
  const Json token_info = parse_json(run_galapagos(1, {"info", tokens, "--json"}).output, "info");
  CHECK(token_info.at("documents") == 300);
  CHECK(token_info.at("tokens") == TokenFile::open(tokens).tokens());
}
