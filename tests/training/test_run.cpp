#include "golden_training.hpp"
#include "scripted_signals.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "training_run.hpp"

#include <cmath>
#include <fmt/format.h>
#include <fstream>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>

using namespace galapagos;
using test::run_to_end;
using test::RunEnd;
using test::small_training;

namespace {

std::vector<double> column(const RunEnd& end, const std::string& name) {
  std::vector<double> values;
  for (const Json& line : end.metrics) {
    if (line.contains(name)) values.push_back(line[name]);
  }
  return values;
}

double greatest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double greatest = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    greatest = std::max(greatest, std::abs(a[i] - b[i]) / std::abs(b[i]));
  return greatest;
}

}  // namespace

TEST_CASE("a run has the same loss curve on any number of ranks", "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned"}) {
    const std::filesystem::path model = folder / name;
    test::copy_with_tokenizer(world, name, model);
    for (const bool distilled : {false, true}) {
      TrainOptions options = small_training(world, name, folder);
      options.output = folder / fmt::format("{}-{}", name, distilled);
      options.model = model;
      options.precision = DType::f32;
      if (distilled) {
        options.reference = test::data_file("models/" + test::unpruned(name));
      }
      const RunEnd found = run_to_end(world, options);
      options.output = folder / fmt::format("{}-{}-{}", name, distilled, world.rank());
      const RunEnd expected = run_to_end(Communicator::self(), options);
      INFO(name << " " << distilled << " " << found.message << expected.message);
      CHECK(found.code == 0);
      CHECK(expected.code == 0);
      const std::vector<double> losses = column(found, "loss");
      CHECK(losses.size() >= 6);
      CHECK(greatest_difference(losses, column(expected, "loss")) < 1e-5);
      CHECK(greatest_difference(column(found, "gradient_norm"), column(expected, "gradient_norm")) < 1e-4);
      CHECK(column(found, "tokens") == column(expected, "tokens"));
      CHECK(column(found, "learning_rate") == column(expected, "learning_rate"));
      if (!losses.empty()) CHECK(losses.back() < losses.front());
      CHECK(!found.model.empty());
      CHECK(found.model.size() == expected.model.size());
    }
  }
}

TEST_CASE("a run that is stopped at any moment and resumed is bit for bit the run without stops",
          "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "llama3_tiny", folder);
  options.eval_every = 2;
  options.tokens = 900;
  const RunEnd whole = run_to_end(world, options);
  INFO(whole.message);
  CHECK(whole.code == 0);
  const auto updates = static_cast<int>(column(whole, "loss").size());
  CHECK(updates >= 4);
  // Stopped once, before or within every update, until a run is over before it is asked so often.
  int stops = 1, first = 0;
  for (; stops == 1 && first < 100; ++first) {
    options.output = folder / fmt::format("once-{}", first);
    options.resume = Resume::no;
    const RunEnd found = test::run_with_stops(world, options, first, 1000, stops);
    INFO("after " << first << " questions: " << found.message);
    CHECK(found.code == 0);
    CHECK(found.model == whole.model);
    CHECK(found.metrics == whole.metrics);
    stops = static_cast<int>(world.max(std::int64_t{stops}));
  }
  CHECK(first > updates);  // a question before each update, and more within some
  CHECK(stops == 0);
  options.output = folder / "often";
  options.resume = Resume::no;
  const RunEnd found = test::run_with_stops(world, options, 0, first / updates + 2, stops);
  CHECK(stops >= 2);  // more than an update each time, or it would never end
  CHECK(found.model == whole.model);
  CHECK(found.metrics == whole.metrics);
}

TEST_CASE("a run on shards that is stopped and resumed is bit for bit the run without stops",
          "[training_run]") {
  const Communicator world = Communicator::world();
  if (world.size() == 1) {
    WARN("SKIPPED: shards need two ranks");
    return;
  }
  const test::SharedFolder folder(world);
  for (int shards = 2; shards <= world.size(); ++shards) {
    if (world.size() % shards != 0) continue;
    TrainOptions options = small_training(world, "qwen2_tiny", folder);
    options.shards = shards;
    options.eval_every = 2;
    options.tokens = 900;
    options.output = folder / fmt::format("whole-{}", shards);
    const RunEnd whole = run_to_end(world, options);
    INFO(shards << " shards: " << whole.message);
    CHECK(whole.code == 0);
    CHECK(!whole.model.empty());
    int stops = 0;
    options.output = folder / fmt::format("often-{}", shards);
    const RunEnd found = test::run_with_stops(world, options, 0, 5, stops);
    CHECK(stops >= 2);
    CHECK(found.model == whole.model);
    CHECK(found.metrics == whole.metrics);
    options.output = folder / fmt::format("once-{}", shards);
    options.resume = Resume::no;
    test::stop_at_question(world.is_root() ? 3 : -1);
    CHECK(run_to_end(world, options).code == static_cast<int>(ExitCode::stopped_early));
    test::stop_at_question(-1);
    // Its state is in slices: another number of shards is another run.
    options.resume = Resume::yes;
    options.shards = 1;
    const RunEnd other = run_to_end(world, options);
    CHECK(other.code == static_cast<int>(ExitCode::bad_input));
    CHECK(other.message.find("shards") != std::string::npos);
    options.shards = shards;
    CHECK(run_to_end(world, options).model == whole.model);
  }
}

TEST_CASE("a recovery from hidden states and responses that is stopped and resumed is the run without stops",
          "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const std::filesystem::path model = folder / "pruned";
  test::copy_with_tokenizer(world, "llama3_pruned", model);
  TrainOptions options = small_training(world, "llama3_tiny", folder);
  options.reference = options.model;
  options.model = model;
  options.tokens = 900;
  options.recompute = true;
  options.precision = DType::f32;
  options.loss.text_weight = 0.2, options.loss.temperature = 2;
  options.loss.hidden_loss = ops::HiddenLoss::cosine, options.loss.hidden_weight = 2;
  options.data = options.eval_data = {folder / "instructions.jsonl"};
  options.responses_only = true;
  if (world.is_root()) {
    std::string lines;
    for (int i = 0; i < 12; ++i)
      lines += fmt::format(
          "{{\"prompt\": \"How much is {0} and {0}? \", \"response\": \"{0} and {0} is {1}.\"}}\n", i, 2 * i);
    test::write_text(options.data.front(), lines);
  }
  world.barrier();
  for (int shards = 1; shards <= std::min(world.size(), 2); ++shards) {
    if (world.size() % shards != 0) continue;
    options.shards = shards;
    options.resume = Resume::no;
    options.output = folder / fmt::format("whole-{}", shards);
    const RunEnd whole = run_to_end(world, options);
    INFO(shards << " shards: " << whole.message);
    CHECK(whole.code == 0);
    CHECK(!whole.model.empty());
    const std::vector<double> losses = column(whole, "loss"), text = column(whole, "text_loss"),
                              logits = column(whole, "logit_loss"), hidden = column(whole, "hidden_loss");
    CHECK(losses.size() >= 4);
    CHECK(text.size() == losses.size());
    for (std::size_t i = 0; i < std::min({losses.size(), text.size(), logits.size(), hidden.size()}); ++i)
      CHECK(losses[i] == Approx(0.2 * text[i] + logits[i] + 2 * hidden[i]).epsilon(1e-12));
    if (!hidden.empty()) CHECK(hidden.back() < hidden.front());
    int stops = 0;
    options.output = folder / fmt::format("often-{}", shards);
    const RunEnd found = test::run_with_stops(world, options, 0, 5, stops);
    CHECK(stops >= 2);
    CHECK(found.model == whole.model);
    CHECK(found.metrics == whole.metrics);
  }
}

TEST_CASE("responses are asked of token files and of plain text in vain", "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "llama3_tiny", folder);
  options.responses_only = true;
  const RunEnd plain = run_to_end(world, options);
  CHECK(plain.code == static_cast<int>(ExitCode::bad_input));
  CHECK(plain.message.find("no response in this record") != std::string::npos);
  if (world.is_root()) {
    test::write_text(folder / "tokens.bin", std::string(64, '\1'));
    test::write_text(folder / "tokens.idx", "");
  }
  world.barrier();
  options.data = {folder / "tokens.bin"};
  const RunEnd tokens = run_to_end(world, options);
  CHECK(tokens.code == static_cast<int>(ExitCode::bad_input));
  CHECK(tokens.message.find("token files do not say") != std::string::npos);
}

TEST_CASE("a run that was killed goes on from its last checkpoint", "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "qwen2_tiny", folder);
  options.eval_every = 3;
  options.checkpoint_every = 2;
  options.tokens = 900;
  const RunEnd whole = run_to_end(world, options);
  CHECK(whole.code == 0);
  // Complete: nothing to do.
  CHECK(run_to_end(world, options).code == 0);
  options.seed = 5;
  CHECK(run_to_end(world, options).code == static_cast<int>(ExitCode::bad_input));
  options.seed = 11;
  // As if killed before the manifest was written, after the last checkpoint; then one that had written no
  // checkpoint after the one before, but a line more than it and a half one.
  const auto kill = [&](bool last_is_there) {
    if (world.is_root()) {
      std::filesystem::remove(options.output / "manifest.json");
      if (!last_is_there) std::filesystem::remove(options.output / "checkpoint.h5");
      std::ofstream(options.output / "metrics.jsonl", std::ios::app) << "{\"step\": 1, \"lo";
    }
    world.barrier();
  };
  for (const bool last_is_there : {true, false}) {
    kill(last_is_there);
    const RunEnd again = run_to_end(world, options);
    INFO(last_is_there << " " << again.message);
    CHECK(again.code == 0);
    CHECK(again.model == whole.model);
    CHECK(again.metrics == whole.metrics);
  }
}

TEST_CASE("without checkpoints only a run whose model cannot be written is saved", "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "qwen2_tiny", folder);
  options.tokens = 500;
  options.checkpoint_every = 0;
  const RunEnd whole = run_to_end(world, options);
  CHECK(whole.code == 0);
  CHECK(!std::filesystem::exists(options.output / "checkpoint.h5"));
  options.output = folder / "again";
  const auto refuse = [&](auto&&...) {
    agree_at_root(world, [] { throw ResourceError("no room", "the disk", "free space"); });
  };
  CHECK_THROWS_AS(run_training(world, ops::Context(), options, refuse), Error);
  CHECK(std::filesystem::exists(options.output / "checkpoint.h5"));
  CHECK(!std::filesystem::exists(options.output / "manifest.json"));
  world.barrier();
  options.resume = Resume::yes;
  const RunEnd again = run_to_end(world, options);
  CHECK(again.code == 0);
  CHECK(again.model == whole.model);
  CHECK(again.metrics == whole.metrics);
}

TEST_CASE("a run stops at its time", "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "llama3_tiny", folder);
  options.eval_data.clear();
  options.tokens = 500;
  const RunEnd whole = run_to_end(world, options);
  options.output = folder / "stopped";
  options.max_seconds = 1e-9;
  for (int again = 0; again < 2; ++again) {
    const RunEnd stopped = run_to_end(world, options);
    CHECK(stopped.code == static_cast<int>(ExitCode::stopped_early));
    CHECK(stopped.metrics.empty());
    options.resume = Resume::yes;
  }
  options.max_seconds = 0;
  const RunEnd found = run_to_end(world, options);
  CHECK(found.code == 0);
  CHECK(found.model == whole.model);
  CHECK(found.metrics == whole.metrics);
}

TEST_CASE("a run that has other options than its checkpoint is refused by the option's name",
          "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "llama3_tiny", folder);
  options.max_seconds = 1e-9;
  CHECK(run_to_end(world, options).code == static_cast<int>(ExitCode::stopped_early));
  options.resume = Resume::yes;
  const std::filesystem::path pruned = folder / "pruned";
  test::copy_with_tokenizer(world, "llama3_pruned", pruned);
  const auto refused = [&](const char* name, const std::function<void(TrainOptions&)>& change) {
    TrainOptions other = options;
    change(other);
    const RunEnd end = run_to_end(world, other);
    INFO(name << ": " << end.message);
    CHECK(end.code == static_cast<int>(ExitCode::bad_input));
    CHECK(end.message.find(fmt::format("'{}'", name)) != std::string::npos);
  };
  refused("model", [&](TrainOptions& o) { o.model = pruned; });
  refused("model", [](TrainOptions& o) { o.random_weights = true; });
  const std::filesystem::path other_config = folder / "config";
  if (world.is_root()) {  // the same weights
    std::filesystem::copy(options.model, other_config);
    Json config = parse_json(read_file(other_config / "config.json"), "config.json");
    config["rms_norm_eps"] = 1e-3;
    write_file_atomically(other_config / "config.json", config.dump());
  }
  world.barrier();
  refused("model", [&](TrainOptions& o) { o.model = other_config; });
  refused("reference", [](TrainOptions& o) { o.reference = o.model; });
  refused("data", [](TrainOptions& o) { o.data = o.eval_data; });
  refused("data", [](TrainOptions& o) { o.sequence_length = 32; });
  refused("tokens", [](TrainOptions& o) { o.tokens += 1; });
  refused("step-tokens", [](TrainOptions& o) { o.step_tokens += 1; });
  refused("batch-tokens", [](TrainOptions& o) { o.batch_tokens += 1; });
  refused("schedule", [](TrainOptions& o) { o.decay = Decay::linear; });
  refused("learning-rate", [](TrainOptions& o) { o.learning_rate = 1e-3; });
  refused("min-learning-rate", [](TrainOptions& o) { o.least_rate_share = 0; });
  refused("warmup", [](TrainOptions& o) { o.warmup_share = 0; });
  refused("clip", [](TrainOptions& o) { o.clip = 0; });
  refused("beta1", [](TrainOptions& o) { o.adamw.beta1 = 0.8; });
  refused("beta2", [](TrainOptions& o) { o.adamw.beta2 = 0.99; });
  refused("epsilon", [](TrainOptions& o) { o.adamw.epsilon = 1e-6; });
  refused("weight-decay", [](TrainOptions& o) { o.adamw.weight_decay = 0; });
  refused("precision", [](TrainOptions& o) { o.precision = DType::f32; });
  refused("seed", [](TrainOptions& o) { o.seed = 12; });
  // Of a reference, and of what is learnt of it.
  options.output = folder / "distilled";
  options.reference = options.model;
  options.loss.hidden_loss = ops::HiddenLoss::cosine;
  options.resume = Resume::no;
  CHECK(run_to_end(world, options).code == static_cast<int>(ExitCode::stopped_early));
  options.resume = Resume::yes;
  refused("logit-weight", [](TrainOptions& o) { o.loss.logit_weight = 2; });
  refused("text-weight", [](TrainOptions& o) { o.loss.text_weight = 1; });
  refused("temperature", [](TrainOptions& o) { o.loss.temperature = 2; });
  refused("hidden-loss", [](TrainOptions& o) { o.loss.hidden_loss = ops::HiddenLoss::normalised; });
  refused("hidden-weight", [](TrainOptions& o) { o.loss.hidden_weight = 2; });
  refused("hidden-layers", [](TrainOptions& o) { o.loss.hidden_layers = "last"; });
  // What does not change the course of the run may change.
  options.max_seconds = 0;
  options.recompute = true;
  options.checkpoint_every = 1;
  CHECK(run_to_end(world, options).code == 0);
}

TEST_CASE("a run whose loss is no number keeps its last checkpoint", "[training_run]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  TrainOptions options = small_training(world, "llama3_tiny", folder);
  options.checkpoint_every = 1;
  options.learning_rate = 1e3;
  options.warmup_share = 0;
  options.clip = 0;
  options.adamw.weight_decay = 1e3;  // multiplies the weights by -1e6 at every update
  const RunEnd end = run_to_end(world, options);
  INFO(end.message);
  CHECK(end.code == static_cast<int>(ExitCode::numerical));
  CHECK(end.message.find("at update") != std::string::npos);
  CHECK(end.model.empty());
  CHECK(std::filesystem::exists(options.output / "checkpoint.h5"));
  CHECK(!std::filesystem::exists(options.output / "manifest.json"));
}
