// The losses of a recovery against the same of logits and hidden states in fp64, and their gradients against
// central differences.
#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

#include <cmath>
#include <functional>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/loss_options.hpp>

using namespace galapagos;
using ops::HiddenLoss;

namespace {

using Row = std::vector<double>;

struct States {
  std::vector<std::vector<Row>> after;  // of each layer, of each token
  std::vector<Row> logits;
};

std::vector<Row> rows_of(const Tensor& tensor) {
  std::vector<Row> rows;
  const std::vector<float> values = test::values_of(tensor);
  for (std::int64_t row = 0; row < tensor.rows(); ++row) {
    const auto first = values.begin() + row * tensor.columns();
    rows.emplace_back(first, first + tensor.columns());
  }
  return rows;
}

States states_of(const HfConfig& config, const ModelWeights& weights, const Batch& batch) {
  const ops::Context context;
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const OwnedTensor hidden({tokens, config.hidden_size}, DType::f32, Device::cpu, "test"),
      logits({tokens, config.vocab_size}, DType::f32, Device::cpu, "test");
  embed_tokens(context, config, alone(), batch.tokens, weights.embedding, hidden);
  LayerForward forward(context, config, tokens);
  States states;
  for (const LayerWeights& layer : weights.layers) {
    forward.run(layer, batch.offsets, hidden);
    states.after.push_back(rows_of(hidden));
  }
  compute_logits(context, config, weights.norm, weights.output(), hidden, logits);
  states.logits = rows_of(logits);
  return states;
}

Row log_softmax(Row row, double temperature) {
  double sum = 0;
  for (double& x : row) sum += std::exp(x /= temperature);
  for (double& x : row) x -= std::log(sum);
  return row;
}

double dot(const Row& a, const Row& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

double hidden_loss(HiddenLoss kind, const Row& x, const Row& r) {
  if (kind == HiddenLoss::cosine) return 1 - dot(x, r) / std::sqrt(dot(x, x) * dot(r, r));
  Row difference = x;
  for (std::size_t i = 0; i < x.size(); ++i) difference[i] -= r[i];
  return dot(difference, difference) / dot(r, r);
}

/// The mean over the predicted tokens that count.
LossSums naive(const TrainingLoss& loss, const Batch& batch, const States& found, const States& wanted) {
  LossSums sums;
  double count = 0;
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    for (auto i = static_cast<std::size_t>(batch.offsets[s]);
         i + 1 < static_cast<std::size_t>(batch.offsets[s + 1]); ++i) {
      if (!batch.in_loss.empty() && batch.in_loss[i + 1] == 0) continue;
      ++count;
      sums.text -= log_softmax(found.logits[i], 1)[static_cast<std::size_t>(batch.tokens[i + 1])];
      const double t = loss.temperature;
      const Row p = log_softmax(wanted.logits[i], t), q = log_softmax(found.logits[i], t);
      for (std::size_t id = 0; id < p.size(); ++id) sums.logits += t * t * std::exp(p[id]) * (p[id] - q[id]);
      for (const std::int64_t layer : loss.layers) {
        const auto at = static_cast<std::size_t>(layer);
        sums.hidden += hidden_loss(loss.hidden_loss, found.after[at][i], wanted.after[at][i]) /
                       static_cast<double>(loss.layers.size());
      }
    }
  }
  for (double* part : {&sums.text, &sums.logits, &sums.hidden}) *part /= count;
  sums.all = loss.text * sums.text + loss.logits * sums.logits + loss.hidden * sums.hidden;
  return sums;
}

struct Bench {
  explicit Bench(const std::string& name) : model(name), reference(test::unpruned(name)), golden(name) {}

  LossSums compute(const TrainingLoss& loss, const Batch& batch, const Gradients& gradients,
                   bool recompute = false) const {
    const ops::Context context;
    const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
    TrainingPass pass(context, model.config, tokens + 3, recompute, alone(), loss);
    Teacher teacher(context, reference.source, tokens + 1, alone(), loss.layers);
    double count = 0;
    for (const float weight : token_weights(batch, 1)) count += static_cast<double>(weight);
    LossSums sums =
        pass.run(model.weights, batch, static_cast<float>(1 / count), teacher.answer(batch), gradients);
    for (double* part : {&sums.all, &sums.text, &sums.logits, &sums.hidden}) *part /= count;
    return sums;
  }

  test::SmallModel model, reference;
  test::GoldenTraining golden;
};

TrainingLoss loss_of(double text, double logits, double temperature, double hidden, HiddenLoss kind,
                     std::vector<std::int64_t> layers) {
  TrainingLoss loss;
  loss.text = text, loss.logits = logits, loss.temperature = temperature;
  loss.hidden = hidden, loss.hidden_loss = kind, loss.layers = std::move(layers);
  return loss;
}

void check_gradients(const Bench& bench, const TrainingLoss& loss, const Batch& batch) {
  const Gradients gradients(bench.model.weights, Device::cpu);
  const LossSums found = bench.compute(loss, batch, gradients);
  const States wanted = states_of(bench.reference.config, bench.reference.weights, batch);
  const auto naive_now = [&] {
    return naive(loss, batch, states_of(bench.model.config, bench.model.weights, batch), wanted);
  };
  const LossSums expected = naive_now();
  CHECK(found.all == Approx(expected.all).epsilon(1e-5));
  if (loss.text != 0) CHECK(found.text == Approx(expected.text).epsilon(1e-5));
  if (loss.logits != 0) CHECK(found.logits == Approx(expected.logits).epsilon(1e-5));
  if (loss.hidden != 0) CHECK(found.hidden == Approx(expected.hidden).epsilon(1e-5));
  std::mt19937 random(3);
  std::int64_t at = 0;
  int parameters = 0, telling = 0;
  for (const NamedTensor& parameter : parameters_of(bench.model.weights)) {
    // Along a direction in which this parameter's gradient is not lost in rounding: its sign.
    const std::span<float> values = parameter.tensor.float_span();
    const std::vector<float> kept(values.begin(), values.end());
    const float* gradient = gradients.all().floats() + at;
    at += parameter.tensor.elements();
    double slope = 0, squares = 0;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      slope += std::abs(static_cast<double>(gradient[i]));
      squares += std::pow(static_cast<double>(kept[i]), 2);
    }
    const double step = 2e-3 * std::sqrt(squares / static_cast<double>(kept.size()));
    const auto moved = [&](double by) {
      for (std::size_t i = 0; i < kept.size(); ++i) {
        const double sign = gradient[i] > 0 ? 1 : gradient[i] < 0 ? -1 : 0;
        values[i] = static_cast<float>(static_cast<double>(kept[i]) + by * sign);
      }
      const double value = naive_now().all;
      std::copy(kept.begin(), kept.end(), values.begin());
      return value;
    };
    const double change = moved(step) - moved(-step), planned = 2 * step * slope;
    INFO(parameter.name << ": a change of " << change << ", planned " << planned);
    CHECK(std::abs(change - planned) < 1e-2 * planned + 4e-6 * expected.all);
    ++parameters;
    if (planned > 2e-4 * expected.all) ++telling;  // far above rounding
  }
  INFO(telling << " of " << parameters);
  CHECK(2 * telling > parameters);
  const Gradients again(bench.model.weights, Device::cpu);
  CHECK(bench.compute(loss, batch, again, true).all == found.all);
  CHECK(test::values_of(again.all()) == test::values_of(gradients.all()));
}

}  // namespace

TEST_CASE("each loss of a recovery and its gradient, with layers of which nothing is left", "[training]") {
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned"}) {
    const Bench bench(name);
    const Batch batch = bench.golden.batch(0);
    const std::vector<std::int64_t> all = compared_layers("all", bench.model.config);
    for (const TrainingLoss& loss :
         {loss_of(0, 0, 1, 1, HiddenLoss::cosine, all), loss_of(0, 0, 1, 1, HiddenLoss::normalised, all),
          loss_of(0, 0, 1, 3, HiddenLoss::cosine, {bench.model.config.layers - 1}),
          loss_of(0, 2, 3, 0, HiddenLoss::cosine, {}), loss_of(0.5, 1, 1, 0, HiddenLoss::cosine, {}),
          loss_of(0.25, 0.5, 2, 4, HiddenLoss::normalised, {0, 2})}) {
      INFO(name << ": text " << loss.text << ", logits " << loss.logits << " at " << loss.temperature
                << ", hidden " << loss.hidden << " of " << loss.layers.size());
      check_gradients(bench, loss, batch);
    }
  }
}

TEST_CASE("tokens that do not count change nothing", "[training]") {
  const Bench bench("llama3_pruned");
  const TrainingLoss loss =
      loss_of(0.5, 1, 2, 2, HiddenLoss::cosine, compared_layers("all", bench.model.config));
  Batch batch = bench.golden.batch(0);
  std::vector<std::uint8_t> in_loss(batch.tokens.size(), 0);
  for (const std::size_t i : {3, 4, 5, 9, 10, 20, 25}) in_loss[i] = 1;  // 20 begins a sequence: not predicted
  batch.in_loss = in_loss;
  check_gradients(bench, loss, batch);

  // What comes after the last response of each sequence is nobody's context.
  const Gradients gradients(bench.model.weights, Device::cpu), others(bench.model.weights, Device::cpu);
  const LossSums found = bench.compute(loss, batch, gradients);
  std::vector<std::int32_t> tokens(batch.tokens.begin(), batch.tokens.end());
  for (std::size_t i = 11; i < 20; ++i) tokens[i] = 700 - tokens[i] / 2;
  for (std::size_t i = 26; i < tokens.size(); ++i) tokens[i] = 700 - tokens[i] / 2;
  Batch other = batch;
  other.tokens = tokens;
  const LossSums again = bench.compute(loss, other, others);
  CHECK(again.all == found.all);
  CHECK(test::values_of(others.all()) == test::values_of(gradients.all()));
  // It is, once it counts.
  in_loss[12] = 1;
  const Gradients counted(bench.model.weights, Device::cpu);
  CHECK(bench.compute(loss, batch, counted).all != found.all);

  // A sequence without a response is as if it were not there.
  TokenSet set;
  set.tokens.assign(batch.tokens.begin(), batch.tokens.end());
  set.offsets = {0, 20, 33};
  set.in_loss.assign(33, 0);
  for (const std::size_t i : {3, 4, 20}) set.in_loss[i] = 1;
  CHECK(set.predicted(0) == 2);
  CHECK(set.predicted(1) == 0);
  CHECK(predicted_tokens(set) == 2);
  const ops::Context context;
  TrainingPass pass(context, bench.model.config, 33, false);
  const TokenSet first{{set.tokens.begin(), set.tokens.begin() + 20},
                       {0, 20},
                       {set.in_loss.begin(), set.in_loss.begin() + 20}};
  const Gradients of_both(bench.model.weights, Device::cpu), of_first(bench.model.weights, Device::cpu);
  const double both = add_gradients(pass, bench.model.weights, set, 20, 0.5f, nullptr, of_both)->all;
  CHECK(both == add_gradients(pass, bench.model.weights, first, 20, 0.5f, nullptr, of_first)->all);
  CHECK(test::values_of(of_both.all()) == test::values_of(of_first.all()));
  CHECK(sum_nll(context, bench.model.config, bench.model.weights, set, 33) == Approx(both).epsilon(1e-6));
}

TEST_CASE("layers after which hidden states are compared", "[training]") {
  HfConfig config = test::SmallModel("llama3_tiny").config;
  using Layers = std::vector<std::int64_t>;
  const LayerShape whole = config.layer_shapes.front();
  const auto with = [&](const std::vector<bool>& works) {
    config.layers = static_cast<std::int64_t>(works.size());
    config.layer_shapes.clear();
    for (const bool there : works) config.layer_shapes.push_back(there ? whole : LayerShape());
    return config;
  };
  CHECK(compared_layers("all", with({true, true, true})) == Layers{0, 1, 2});
  // The stream after 1 and 2 is that after 0, which is what 3 works on.
  CHECK(compared_layers("all", with({true, false, false, true, true})) == Layers{2, 3, 4});
  CHECK(compared_layers("all", with({false, true, true, false})) == Layers{1, 3});
  CHECK(compared_layers("all", with({true, false, false})) == Layers{2});
  CHECK(compared_layers("last", with({true, true, false})) == Layers{2});
  CHECK(compared_layers("every:2", with({true, true, true, true, true})) == Layers{0, 2, 4});
  CHECK(compared_layers("every:3", with({true, true, true, true, true})) == Layers{1, 4});
  CHECK(compared_layers("every:2", with({true, false, true, true, true})) == Layers{2, 4});
  CHECK(compared_layers("4,1,1", with({true, false, true, true, true})) == Layers{1, 4});
  for (const char* wrong :
       {"", "most", "every:", "every:0", "every:6", "every:x", "5", "-1", "1,", "1,,2", "1 2"})
    CHECK_THROWS_AS(compared_layers(wrong, config), UsageError);
}

TEST_CASE("losses that cannot be are refused", "[training]") {
  LossOptions options;
  check_losses(options, false);
  check_losses(options, true);
  options.logit_weight = 0;
  CHECK_THROWS_AS(check_losses(options, true), UsageError);
  CHECK_THROWS_AS(check_losses(options, false), UsageError);
  options.hidden_loss = HiddenLoss::cosine;
  check_losses(options, true);
  options.hidden_weight = 0;
  CHECK_THROWS_AS(check_losses(options, true), UsageError);
  options.text_weight = -1;
  CHECK_THROWS_AS(check_losses(options, true), UsageError);
  options = {};
  options.temperature = 0;
  CHECK_THROWS_AS(check_losses(options, true), UsageError);
  options.temperature = std::nan("");
  CHECK_THROWS_AS(check_losses(options, true), UsageError);
}
