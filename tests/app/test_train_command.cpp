#include "support/catch.hpp"
#include "support/phases.hpp"
#include "train_command.hpp"

#include <cmath>
#include <sstream>

#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::train;
using test::train_evaluations;
using test::train_findings;
using test::train_updates;

namespace {

namespace fs = std::filesystem;

fs::path dense() {
  return test::data_file("models/llama3_tiny");
}

double perplexity(const Json& evaluation) {
  return evaluation.at("perplexity").begin()->get<double>();
}

}  // namespace

TEST_CASE("a pruned model is trained, and eval measures the perplexity that the training logged", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const fs::path run = folder / ("run" + std::to_string(ranks));
    train(ranks, run, {{"--model", test::pruned_model().string()}});
    const std::vector<Json> evaluations = train_evaluations(run);
    const std::size_t updates = train_updates(run).size();
    CHECK(updates > 8);
    REQUIRE(evaluations.size() >= 3);
    CHECK(evaluations.front().at("step") == 0);
    CHECK(evaluations[1].at("step") == 4);
    CHECK(evaluations.back().at("step") == updates);
    CHECK(perplexity(evaluations.front()) ==
          Approx(test::evaluated(test::pruned_model()).at("perplexity").get<double>()).epsilon(1e-5));
    CHECK(perplexity(evaluations.back()) ==
          Approx(test::evaluated(run / "model").at("perplexity").get<double>()).epsilon(1e-5));
    CHECK(perplexity(evaluations.back()) < perplexity(evaluations.front()));
    const Json manifest = read_json(run / "manifest.json");
    CHECK(manifest.at("ranks") == ranks);
    test::check_phases(manifest, {"reading", "computing gradients", "communicating and updating",
                                  "evaluating", "waiting", "writing", "other"});
    CHECK(manifest.at("updates") == updates);
    CHECK(perplexity(manifest) == perplexity(evaluations.back()));
    CHECK(fs::exists(run / "model" / "tokenizer.json"));
    CHECK(fs::exists(run / "model" / "modeling_galapagos.py"));
    CHECK(!fs::exists(part_path(run / "model")));
    CHECK(!fs::exists(part_path(run / "checkpoint.h5")));
  }
  // The same updates on any number of ranks, to rounding.
  const std::vector<Json> alone = train_updates(folder / "run1"), together = train_updates(folder / "run3");
  REQUIRE(alone.size() == together.size());
  for (std::size_t i = 0; i < alone.size(); ++i) {
    CHECK(alone[i].at("tokens") == together[i].at("tokens"));
    CHECK(alone[i].at("loss").get<double>() == Approx(together[i].at("loss").get<double>()).epsilon(2e-3));
  }
  // The configuration that is left behind gives the same training.
  REQUIRE(test::run_galapagos(1, {"train", "--config", (folder / "run1" / "config.ini").string(), "--output",
                                  (folder / "again").string()})
              .code == 0);
  CHECK(train_findings(folder / "again") == train_findings(folder / "run1"));
}

TEST_CASE("distillation lowers the divergence from the reference as eval measures it", "[train]") {
  const test::TemporaryFolder folder;
  const auto divergence = [&](const fs::path& model) {
    return test::evaluated(model, {"--reference", dense().string()}).at("kl").get<double>();
  };
  const double before = divergence(test::pruned_model());
  // One update of all the text: its loss is the divergence.
  const Json measured = test::evaluated(test::pruned_model());
  const auto tokens =
      measured.at("tokens").get<std::int64_t>() + measured.at("sequences").get<std::int64_t>();
  train(1, folder / "once",
        {{"--model", test::pruned_model().string()},
         {"--reference", dense().string()},
         {"--data", (test::train_inputs() / "eval.jsonl").string()},
         {"--tokens", std::to_string(tokens)},
         {"--step-tokens", std::to_string(tokens)}});
  REQUIRE(train_updates(folder / "once").size() == 1);
  CHECK(train_updates(folder / "once").front().at("loss").get<double>() == Approx(before).epsilon(1e-4));
  train(3, folder / "run", {{"--model", test::pruned_model().string()}, {"--reference", dense().string()}});
  const double after = divergence(folder / "run" / "model");
  INFO(before << " " << after);
  CHECK(after < 0.9 * before);
}

TEST_CASE("training from random weights needs only config.json and the tokenizer", "[train]") {
  const test::TemporaryFolder folder;
  fs::create_directory(folder / "shape");
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(dense() / name, folder / "shape" / name);
  const test::TrainChange random = {{"--model", (folder / "shape").string()},
                                    {"--random-weights", ""},
                                    {"--learning-rate", "3e-3"},
                                    {"--tokens", "12000"}};
  train(1, folder / "run", random);
  train(1, folder / "same", random);
  test::TrainChange other = random;
  other["--seed"] = "4";
  train(1, folder / "other", other);
  CHECK(train_findings(folder / "run") == train_findings(folder / "same"));
  CHECK(train_findings(folder / "run") != train_findings(folder / "other"));
  const std::vector<Json> evaluations = train_evaluations(folder / "run");
  CHECK(std::log(perplexity(evaluations.front())) == Approx(std::log(768.0)).epsilon(0.05));
  CHECK(perplexity(evaluations.back()) < 0.5 * perplexity(evaluations.front()));
  CHECK(perplexity(evaluations.back()) ==
        Approx(test::evaluated(folder / "run" / "model").at("perplexity").get<double>()).epsilon(1e-5));
  const test::Ended without =
      test::run_galapagos(1, test::train_words(folder / "none", {{"--model", (folder / "shape").string()}}));
  CHECK(without.code == 3);
  CHECK(!fs::exists(folder / "none"));
}

TEST_CASE("recomputing activations gives the same bits", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const fs::path kept = folder / ("kept" + std::to_string(ranks)),
                   again = folder / ("again" + std::to_string(ranks));
    train(ranks, kept);
    train(ranks, again, {{"--recompute", ""}});
    CHECK(train_findings(kept) == train_findings(again));
  }
}

TEST_CASE("text shorter than the budget is read again, which is said", "[train]") {
  const test::TemporaryFolder folder;
  std::string tokens(1024, '\0');  // a token file of llm.c: a header, and ids of 16 bits
  const std::int32_t header[] = {20240520, 1, 1000};
  tokens.replace(0, sizeof header, reinterpret_cast<const char*>(header), sizeof header);
  for (int i = 0; i < 1000; ++i) {
    const auto id = static_cast<std::uint16_t>(i * 7 % 768);
    tokens.append(reinterpret_cast<const char*>(&id), sizeof id);
  }
  test::write_text(folder / "x.bin", tokens);
  const test::TrainChange change = {
      {"--data", (folder / "x.bin").string()}, {"--sequence-length", "100"}, {"--step-tokens", "200"}};
  const auto read = [&](const char* budget) {
    test::TrainChange words = change;
    words["--tokens"] = budget;
    return train(3, folder / budget, words).errors;
  };
  CHECK(test::count_lines(read("2500"), "it is read 2.50 times") == 1);
  CHECK(test::count_lines(read("1000"), "is read") == 0);
  CHECK(train_updates(folder / "2500").size() == 13);  // the last one of half its size
  CHECK(train_updates(folder / "2500").back().at("tokens") == 2500);
}

TEST_CASE("a dry run says what it would do and does nothing", "[train]") {
  const test::TemporaryFolder folder;
  for (const int ranks : {1, 3}) {
    const std::string errors = train(ranks, folder / "run", {{"--dry-run", ""}}).errors;
    CHECK(test::count_lines(errors, "updates of about 500 tokens") == 1);
    CHECK(test::count_lines(errors, "memory of a rank") == 1);
    CHECK(test::count_lines(errors, "perplexity") == 0);
    CHECK(!fs::exists(folder / "run"));
  }
}
