#include "support/catch.hpp"
#include "support/refusal.hpp"
#include "train_command.hpp"

#include <galapagos/core/file.hpp>

using namespace galapagos;

namespace {

namespace fs = std::filesystem;

class Refused {
 public:
  explicit Refused(fs::path output) : output_(std::move(output)) {}
  /// Output is not there afterwards where `fresh`.
  void add(const test::TrainChange& change, int code, const std::string& reason, bool fresh = true) {
    all_.push_back({[=, output = output_](int) { return test::train_words(output, change); }, code, reason,
                    fresh ? output_ : fs::path()});
  }
  void check() { test::check_refused(all_); }

 private:
  fs::path output_;
  std::vector<test::Refusal> all_;
};

}  // namespace

TEST_CASE("a training with wrong options is refused", "[train]") {
  const test::TemporaryFolder folder;
  Refused refused(folder / "run");
  for (const char* option : {"--model", "--data", "--tokens"})
    refused.add({{option, "-"}}, 2, "'" + std::string(option) + "' is required");
  refused.add({{"--colour", "red"}}, 2, "--colour");
  refused.add({{"--tokens", "0"}}, 2, "--tokens");
  refused.add({{"--step-tokens", "0"}}, 2, "--step-tokens");
  refused.add({{"--batch-tokens", "0"}}, 2, "--batch-tokens");
  refused.add({{"--sequence-length", "513"}}, 2, "this model takes 1 to 512 tokens");
  refused.add({{"--learning-rate", "-1"}}, 2, "--learning-rate");
  refused.add({{"--learning-rate", "nan"}}, 2, "--learning-rate");
  refused.add({{"--min-learning-rate", "1.5"}}, 2, "--min-learning-rate");
  refused.add({{"--warmup", "2"}}, 2, "--warmup");
  refused.add({{"--schedule", "stepwise"}}, 2, "unknown schedule 'stepwise'");
  refused.add({{"--clip", "-1"}}, 2, "--clip");
  refused.add({{"--beta1", "1"}}, 2, "--beta1");
  refused.add({{"--beta2", "1"}}, 2, "--beta2");
  refused.add({{"--epsilon", "0"}}, 2, "--epsilon");
  refused.add({{"--weight-decay", "-1"}}, 2, "--weight-decay");
  refused.add({{"--eval-every", "-1"}}, 2, "--eval-every");
  refused.add({{"--checkpoint-every", "-1"}}, 2, "--checkpoint-every");
  refused.add({{"--max-walltime", "soon"}}, 2, "--max-walltime");
  refused.add({{"--hidden-loss", "mse"}}, 2, "give none, cosine or normalised");
  refused.add({{"--hidden-loss", "cosine"}}, 2, "losses against no reference");
  refused.add({{"--loss-on", "prompt"}}, 2, "give all or response");
  refused.add({{"--precision", "int4"}}, 2, "unknown precision");
  refused.add({{"--memory-limit", "1M"}}, 4, "training needs");
  refused.check();
}

TEST_CASE("a training with wrong files is refused", "[train]") {
  const test::TemporaryFolder folder;
  Refused refused(folder / "run");
  refused.add({{"--model", (folder / "none").string()}}, 3, "no such folder");
  refused.add({{"--model", folder.path().string()}}, 3, "no config.json");
  refused.add({{"--data", (folder / "none.jsonl").string()}}, 3, "none.jsonl");
  refused.add({{"--eval-data", (folder / "none.jsonl").string()}}, 3, "none.jsonl");
  test::write_text(folder / "empty.txt", "");
  refused.add({{"--data", (folder / "empty.txt").string()}}, 3, "empty.txt");
  refused.add({{"--sequence-length", "1"}}, 3, "no sequence of two tokens");
  refused.add({{"--reference", (folder / "none").string()}}, 3, "no such folder");
  refused.add({{"--loss-on", "response"}}, 3, "no response in this record");
  // Another vocabulary cannot be learnt from.
  const fs::path other = folder / "other";
  fs::copy(test::data_file("models/llama3_tiny"), other, fs::copy_options::recursive);
  Json config = read_json(other / "config.json");
  config["vocab_size"] = 700;
  test::write_text(other / "config.json", config.dump());
  refused.add({{"--reference", other.string()}}, 3, "a vocabulary of 700 ids, but the model has 768");
  fs::copy(test::data_file("models/llama3_tiny"), folder / "cut", fs::copy_options::recursive);
  fs::resize_file(folder / "cut" / "model.safetensors", 300000);
  refused.add({{"--model", (folder / "cut").string()}}, 3, "model.safetensors");
  test::write_text(folder / "file", "x");
  refused.add({{"--output", (folder / "file" / "run").string()}}, 3, "cannot make the folder");
  refused.add({{"--resume", ""}}, 3, "there is no training to go on with");
  // The trained model would take the place of the one it is made from.
  fs::create_directory(folder / "holder");
  fs::copy(test::data_file("models/llama3_tiny"), folder / "holder" / "model", fs::copy_options::recursive);
  refused.add(
      {{"--model", (folder / "holder" / "model").string()}, {"--output", (folder / "holder").string()}}, 3,
      "there is a model already");
  fs::create_directories(folder / "distilled" / "layers");
  test::write_text(folder / "distilled" / "metrics.jsonl", "{\"layer\":0}\n");
  refused.add({{"--output", (folder / "distilled").string()}}, 3,
              "there is something of another run already");
  refused.check();
  CHECK(fs::exists(folder / "holder" / "model" / "model.safetensors"));
  CHECK(read_file(folder / "distilled" / "metrics.jsonl") == "{\"layer\":0}\n");
}

TEST_CASE("a training goes on only with the options that decide its course", "[train]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "run";
  REQUIRE(test::run_galapagos(2, test::train_words(run)).code == 0);
  const std::string complete = test::train_findings(run);
  Refused finished(run);
  finished.add({{"--resume", "no"}}, 3, "there is a training already", false);
  finished.add({{"--seed", "4"}}, 3, "'seed' was 3 and is 4 now", false);
  finished.check();
  for (const char* resume : {"auto", "yes"}) {
    const test::Ended again = test::run_galapagos(2, test::train_words(run, {{"--resume", resume}}));
    CHECK(again.code == 0);
    CHECK(test::count_lines(again.errors, "is complete already") == 1);
  }
  CHECK(test::train_findings(run) == complete);

  fs::remove(run / "manifest.json");  // as if it had been ended just before
  Refused unfinished(run);
  unfinished.add({{"--resume", "no"}}, 3, "there is a training already", false);
  const auto changed = [&](const std::string& option, const std::string& value, const std::string& reason) {
    unfinished.add({{"--resume", ""}, {option, value}}, 3, reason, false);
  };
  changed("--tokens", "7000", "'tokens' was 6000 and is 7000 now");
  changed("--seed", "4", "'seed' was 3 and is 4 now");
  changed("--learning-rate", "2e-3", "'learning-rate' was 0.001 and is 0.002 now");
  changed("--step-tokens", "400", "'step-tokens' was 500 and is 400 now");
  changed("--warmup", "0.5", "'warmup' was");
  changed("--precision", "fp32", "'precision' was \"bf16\" and is \"fp32\" now");
  changed("--data", (test::train_inputs() / "eval.jsonl").string(), "'data' was");
  changed("--sequence-length", "100", "'data' was");
  changed("--reference", test::data_file("models/llama3_tiny").string(), "'reference' was");
  changed("--model", test::data_file("models/llama2_tiny").string(), "'model' was");
  unfinished.check();
  CHECK(test::train_findings(run) == complete);
  // On another number of ranks it goes on from the same state; how it is evaluated may change.
  const std::string model = test::model_bytes(run);
  for (const int ranks : {1, 3}) {
    test::train(ranks, run, {{"--eval-every", "5"}});
    CHECK(test::model_bytes(run) == model);
    fs::remove(run / "manifest.json");
  }
  // The checkpoint before the last one is used where the last is damaged.
  test::write_text(run / "checkpoint.h5", "no checkpoint");
  test::train(2, run, {{"--resume", ""}});
  CHECK(test::train_findings(run) == complete);
}
