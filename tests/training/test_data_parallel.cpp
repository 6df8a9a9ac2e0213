#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/training/train.hpp>

using namespace galapagos;

namespace {

namespace fs = std::filesystem;

TrainOptions small_training(const fs::path& output) {
  TrainOptions options;
  options.model = test::data_file("models/llama3_tiny");
  options.data = {test::data_file("text/sample.jsonl")};
  options.eval_data = options.data;
  options.output = output;
  options.tokens = 3000;
  options.step_tokens = 400;
  options.batch_tokens = 128;
  options.sequence_length = 64;
  options.learning_rate = 1e-2;
  // With an epsilon beside which rounding is nothing: as it is, AdamW makes as long a step of a gradient that
  // is nothing but rounding as of any other, and the curves part by 1e-3.
  options.adamw.epsilon = 1e-3;
  options.eval_every = 3;
  options.precision = DType::f32;
  return options;
}

/// Numbers of one name in the lines of metrics.jsonl.
std::vector<double> column(const fs::path& run, const std::string& name) {
  std::vector<double> values;
  std::istringstream lines(read_file(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json json = parse_json(line, "metrics.jsonl");
    if (!json.contains(name)) continue;
    values.push_back(json[name].is_object() ? json[name].begin()->get<double>() : json[name].get<double>());
  }
  return values;
}

double largest_relative(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]) / std::abs(b[i]));
  return worst;
}

/// The sample text as prompts and responses.
void write_instructions(const fs::path& file) {
  std::istringstream sample(read_file(test::data_file("text/sample.jsonl")));
  std::string all, line;
  for (int i = 0; i < 40 && std::getline(sample, line); ++i) {
    const std::string text = parse_json(line, "sample")["text"];
    const std::size_t middle = text.find(' ', std::min<std::size_t>(text.size() / 2, 40));
    if (middle == std::string::npos) continue;
    Json record;
    if (i % 2 == 0) {
      record["prompt"] = text.substr(0, middle);
      record["response"] = text.substr(middle);
    } else {
      record["messages"] = {{{"role", "user"}, {"content", text.substr(0, middle)}},
                            {{"role", "assistant"}, {"content", text.substr(middle)}}};
    }
    all += record.dump() + "\n";
  }
  test::write_text(file, all);
}

void no_writer(const HfConfig&, std::span<const NamedTensor>, const ReplicaGrid&, DType, const fs::path&) {}

}  // namespace

TEST_CASE("the curve of losses is that of one rank to rounding", "[data_parallel]") {
  const Communicator world = Communicator::world(), alone = Communicator::self();
  const test::SharedFolder folder(world);
  const ops::Context context;
  if (world.is_root()) write_instructions(folder / "instructions.jsonl");
  world.barrier();
  struct Case {
    std::string name;
    std::function<void(TrainOptions&)> change;
  };
  const std::vector<Case> cases = {
      {"plain", [](TrainOptions&) {}},
      {"few", [](TrainOptions& options) { options.step_tokens = 1, options.tokens = 500; }},  // idle ranks
      {"distilled",
       [](TrainOptions& options) {
         options.reference = test::data_file("models/llama3_tiny");
         options.random_weights = true;
       }},
      {"recovered",
       [](TrainOptions& options) {
         options.reference = test::data_file("models/llama3_tiny");
         options.random_weights = true;
         options.loss.text_weight = 0.3, options.loss.temperature = 2;
         options.loss.hidden_loss = ops::HiddenLoss::cosine, options.loss.hidden_weight = 5;
       }},
      {"responses",
       [&](TrainOptions& options) {
         options.data = options.eval_data = {folder / "instructions.jsonl"};
         options.responses_only = true;
       }},
  };
  for (const Case& one : cases) {
    TrainOptions together = small_training(folder / one.name);
    one.change(together);
    TrainOptions single = together;
    single.output = folder / (one.name + "_alone");
    run_training(world, context, together, no_writer);
    if (world.is_root()) run_training(alone, context, single, no_writer);
    world.barrier();
    const std::vector<double> losses = column(together.output, "loss");
    INFO(one.name);
    CHECK(losses.size() > 5);
    CHECK(largest_relative(losses, column(single.output, "loss")) < 1e-5);
    CHECK(largest_relative(column(together.output, "gradient_norm"), column(single.output, "gradient_norm")) <
          1e-4);
    CHECK(largest_relative(column(together.output, "perplexity"), column(single.output, "perplexity")) <
          1e-5);
    CHECK(column(together.output, "learning_rate") == column(single.output, "learning_rate"));
    CHECK(column(together.output, "tokens") == column(single.output, "tokens"));
    CHECK(column(together.output, "perplexity").size() >= 3);
    if (one.name == "plain") CHECK(losses.back() < losses.front() - 0.2);  // it learns
  }
}

TEST_CASE("replicas on shards have the curve of losses of one rank to rounding", "[data_parallel]") {
  const Communicator world = Communicator::world(), alone = Communicator::self();
  const test::SharedFolder folder(world);
  const ops::Context context;
  for (const bool distilled : {false, true}) {
    const std::string name = distilled ? "distilled" : "plain";
    TrainOptions single = small_training(folder / (name + "_alone"));
    if (distilled) single.reference = test::data_file("models/llama3_tiny"), single.random_weights = true;
    if (world.is_root()) run_training(alone, context, single, no_writer);
    world.barrier();
    for (int shards = 2; shards <= world.size(); ++shards) {
      if (world.size() % shards != 0) continue;
      TrainOptions options = single;
      options.shards = shards;
      options.recompute = distilled;
      options.output = folder / (name + std::to_string(shards));
      run_training(world, context, options, no_writer);
      INFO(name << " on " << shards << " shards");
      for (const char* what : {"loss", "gradient_norm", "perplexity"}) {
        const std::vector<double> found = column(options.output, what);
        CHECK(found.size() >= 3);
        CHECK(largest_relative(found, column(single.output, what)) < (what[0] == 'g' ? 1e-4 : 1e-5));
      }
    }
  }
}

TEST_CASE("recomputing activations changes no bit of a training", "[data_parallel]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const ops::Context context;
  TrainOptions options = small_training(folder / "stored");
  run_training(world, context, options, no_writer);
  options.output = folder / "recomputed";
  options.recompute = true;
  run_training(world, context, options, no_writer);
  CHECK(column(folder / "stored", "loss") == column(folder / "recomputed", "loss"));
  CHECK(column(folder / "stored", "perplexity") == column(folder / "recomputed", "perplexity"));
}
