#include "small_command.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

#include <cstdlib>

#include <galapagos/core/file.hpp>

using namespace galapagos;

namespace {

// The program ends with this code on any number of ranks, says why in one line, and does not hang.
void check_refused(const std::vector<std::string>& words, int code, const std::string& reason) {
  for (const int ranks : {1, 3}) {
    const test::Ended ended = test::run_galapagos(ranks, words, 30);
    INFO(ranks << " ranks, " << words.front() << ": " << ended.errors);
    CHECK(ended.code == code);
    CHECK(test::count_lines(ended.errors, "galapagos: error: ") == 1);
    CHECK(ended.errors.find(reason) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("wrong options", "[app]") {
  const test::TemporaryFolder folder;
  const auto database = [&](std::vector<std::string> more) {
    return test::database_words(folder / "x.h5", std::move(more));
  };
  check_refused({"shrink"}, 2, "unknown command 'shrink'");
  check_refused({"database"}, 2, "'--model' is required");
  check_refused(database({"--colour", "red"}), 2, "--colour");
  check_refused(database({"--rel", "1"}), 2, "--rel");
  check_refused(database({"--attention-unit", "heads"}), 2, "unknown attention unit");
  check_refused(database({"--attn-removed", "0 32 16"}), 2, "levels must ascend");
  check_refused(database({"--attn-removed", "0 24"}), 2, "not a multiple of 16");
  check_refused(database({"--ffn-removed", "0 64 64"}), 2, "levels must ascend");
  check_refused(database({"--ffn-removed", "0 999"}), 2, "999 columns of 176");
  check_refused(database({"--precision", "int4"}), 2, "unknown precision");
  check_refused(database({"--memory-limit", "lots"}), 2, "not a number of bytes");
  check_refused(database({"--log-level", "loud"}), 2, "unknown log level");
  check_refused(database({"--backend", "cuda"}), 4, "--backend cpu");
  check_refused(database({"--collectives", "gpu"}), 2,
                "unknown collectives 'gpu' [--collectives]; choose auto, nccl or mpi");
  check_refused(database({"--collectives", "nccl"}), 4, "use --backend cuda, or --collectives auto");
  check_refused(database({"--lanes", "9"}), 2, "9 lanes do not fit");
  check_refused({"serach"}, 2, "did you mean 'search'?");
  check_refused(database({"--cols_removed_mlp", "0", "64"}), 2, "here it is --ffn-removed");
  check_refused({"search", "--target-level", "4.5"}, 2, "--target-sparsity 0.45");
  check_refused(database({"--compensate", "auto"}), 2, "[--compensate]; use it together with --path");
  check_refused(database({"--compensate", "none"}), 2,
                "a ridge of 'none' [--compensate]; give auto, or a number");
  check_refused(database({"--path", "a.txt", "--lanes", "1"}), 2, "on a path every rank is a lane [--lanes]");
  const auto stitch = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"stitch", "--model", test::data_file("models/llama3_tiny").string(),
                                      "--output", folder / "new"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  check_refused(stitch({"--format", "hf", "gguff"}), 2,
                "unknown format 'gguff' [--format]; choose hf, dense, family, gguf or decilm");
  check_refused(stitch({"--format", "hf", "hf"}), 2, "format 'hf' twice");
  check_refused(stitch({"--gguf-type", "q4_0"}), 2, "unknown type of elements 'q4_0'");
  check_refused(stitch({"--format", "hf", "--gguf-type", "q8_0"}), 2,
                "no gguf file is written [--gguf-type]");
  check_refused(stitch({"--refit", "1", "--calibration", "x.txt"}), 2, "--database");
  check_refused(stitch({"--database", "x.h5"}), 2, "only one of the two is given");
  check_refused(stitch({"--format", "gguf", "--gguf-pre", "none", "--shard-size", "lots"}), 2,
                "not a number of bytes");
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("missing, wrong and damaged files", "[app]") {
  const test::TemporaryFolder folder;
  const std::string model = test::data_file("models/llama3_tiny").string();
  const auto database = [&](const std::string& of_model,
                            const std::string& calibration) -> std::vector<std::string> {
    return {"database",
            "--model",
            of_model,
            "--calibration",
            calibration,
            "--output",
            (folder / "x.h5").string()};
  };
  const std::string text = test::data_file("text/sample.jsonl").string();
  check_refused(database((folder / "none").string(), text), 3, "no such folder");
  check_refused(database("no-such-org/Llama-9-7B", text), 3,
                "hf download no-such-org/Llama-9-7B --local-dir Llama-9-7B");
  check_refused(database(model, "wikitext2"), 3, "hf download Salesforce/wikitext --repo-type dataset");
  check_refused(database(folder.path().string(), text), 3, "no config.json");
  check_refused(database(model, (folder / "none.jsonl").string()), 3, "none.jsonl");
  check_refused({"info", (folder / "none.h5").string()}, 3, "no such file");
  check_refused({"info", model + "/config.json"}, 3, "not a kind of file");
  test::write_text(folder / "empty.txt", "");
  check_refused(database(model, (folder / "empty.txt").string()), 3, "");
  test::write_text(folder / "bad.jsonl", "{\"text\": \"one\"}\n{\"text\": two}\n");
  check_refused(database(model, (folder / "bad.jsonl").string()), 3, "bad.jsonl");
  auto short_of_tokens = database(model, text);
  short_of_tokens.insert(short_of_tokens.end(), {"--calibration-tokens", "1000000000"});
  check_refused(short_of_tokens, 3, "too short");

  // A model with one tensor cut off, and one of an unknown family.
  std::filesystem::copy(model, folder / "cut", std::filesystem::copy_options::recursive);
  std::filesystem::resize_file(folder / "cut" / "model.safetensors", 300000);
  check_refused(database((folder / "cut").string(), text), 3, "model.safetensors");
  std::filesystem::copy(model, folder / "other", std::filesystem::copy_options::recursive);
  std::string config = read_file(folder / "other" / "config.json");
  config.replace(config.find("\"llama\""), 7, "\"gpt2\"");
  test::write_text(folder / "other" / "config.json", config);
  check_refused(database((folder / "other").string(), text), 3, "gpt2");
  CHECK(!std::filesystem::exists(folder / "x.h5"));
  CHECK(!std::filesystem::exists(folder / "x.h5.part"));
}

TEST_CASE("a launcher that starts many worlds of one rank is refused", "[app]") {
  ::setenv("SLURM_NTASKS", "4", 1);
  ::unsetenv("SLURM_JOB_ID");
  const test::Ended alone =
      test::run_program({"/usr/bin/env", "-u", "OMPI_COMM_WORLD_SIZE", "-u", "PMI_SIZE", test::program(),
                         "info", test::data_file("models/llama3_tiny").string()});
  CHECK(alone.code == 4);
  CHECK(alone.errors.find("srun --mpi=pmix") != std::string::npos);
  const test::Ended together =
      test::run_galapagos(4, {"info", test::data_file("models/llama3_tiny").string()});
  ::unsetenv("SLURM_NTASKS");
  CHECK(together.code == 0);
}
