#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <galapagos/model/training_pass.hpp>
#include <galapagos/training/fine_tune.hpp>

using namespace galapagos;

namespace {

constexpr double rate = 1e-3;

TokenSet lessons(std::int64_t vocabulary) {
  std::mt19937 random(5);
  std::uniform_int_distribution<std::int32_t> token(0, static_cast<std::int32_t>(vocabulary) - 1);
  TokenSet set;
  for (const int length : {17, 1, 30, 2, 25}) {  // one that predicts nothing
    for (int i = 0; i < length; ++i) set.tokens.push_back(token(random));
    set.offsets.push_back(set.tokens.size());
  }
  return set;
}

std::vector<float> all_values(const ModelWeights& weights) {
  std::vector<float> values;
  for (const NamedTensor& parameter : parameters_of(weights)) {
    const std::vector<float> some = test::values_of(parameter.tensor);
    values.insert(values.end(), some.begin(), some.end());
  }
  return values;
}

void set_values(const ModelWeights& weights, const std::vector<double>& values, DType precision) {
  std::size_t at = 0;
  for (const NamedTensor& parameter : parameters_of(weights)) {
    const Tensor& tensor = parameter.tensor;
    std::vector<float> some(values.begin() + static_cast<std::ptrdiff_t>(at),
                            values.begin() + static_cast<std::ptrdiff_t>(at) + tensor.elements());
    std::vector<std::byte> stored(some.size() * size_of(precision));
    convert_from_float(some, precision, stored.data());
    convert_to_float(precision, stored.data(), some);
    convert_from_float(some, tensor.dtype, tensor.data);
    at += some.size();
  }
}

// The definition: a step of AdamW in fp64, with PyTorch's defaults, for each sequence.
void tune_in_fp64(const HfConfig& config, const ModelWeights& weights, DType precision,
                  const TokenSet& sequences) {
  const ops::Context context;
  const std::vector<float> begin = all_values(weights);
  std::vector<double> w(begin.begin(), begin.end()), m(w.size()), v(w.size());
  TrainingPass pass(context, config, 64, false);
  int step = 0;
  for (std::size_t s = 0; s < sequences.sequences(); ++s) {
    const std::span<const std::int32_t> tokens = sequences.sequence(s);
    if (tokens.size() < 2) continue;
    const Gradients gradients(weights, Device::cpu);
    pass.run(weights, {tokens, {0, static_cast<std::int64_t>(tokens.size())}},
             1.0f / static_cast<float>(tokens.size() - 1), {}, gradients);
    ++step;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double g = gradients.all().floats()[i];
      w[i] -= rate * 0.01 * w[i];
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      const double m_hat = m[i] / (1 - std::pow(0.9, step)), v_hat = v[i] / (1 - std::pow(0.999, step));
      w[i] -= rate * m_hat / (std::sqrt(v_hat) + 1e-8);
    }
    set_values(weights, w, precision);
  }
}

struct Differences {
  double mean = 0, greatest = 0;
};

Differences differences(const std::vector<float>& a, const std::vector<float>& b) {
  Differences found;
  if (a.size() != b.size()) return {INFINITY, INFINITY};
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    found.mean += difference / static_cast<double>(a.size());
    found.greatest = std::isnan(difference) ? INFINITY : std::max(found.greatest, difference);
  }
  return found;
}

FineTuneOptions at_rate(bool recompute = false) {
  FineTuneOptions options;
  options.learning_rate = rate;
  options.recompute = recompute;
  return options;
}

}  // namespace

TEST_CASE("fine-tuning is one step of AdamW for each sequence", "[fine_tune]") {
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned"}) {
    const test::SmallModel model(name);
    const TokenSet sequences = lessons(model.config.vocab_size);
    const ModelWeights expected = load_model_weights(model.source), found = load_model_weights(model.source);
    const std::vector<float> before = all_values(found);
    tune_in_fp64(model.config, expected, DType::f32, sequences);
    CHECK(fine_tune(ops::Context(), model.config, found, DType::f32, sequences, at_rate(), {}) ==
          FineTuneEnd::done);
    const Differences error = differences(all_values(found), all_values(expected)),
                      change = differences(all_values(found), before);
    INFO(name << ": mean " << error.mean << ", greatest " << error.greatest);
    CHECK(change.mean > 0.1 * rate);
    // AdamW makes steps of the whole rate of gradients that are nothing but rounding, which a few are.
    CHECK(error.mean < 1e-4 * rate);
    CHECK(error.greatest < 0.1 * rate);
    const ModelWeights again = load_model_weights(model.source);
    CHECK(fine_tune(ops::Context(), model.config, again, DType::f32, sequences, at_rate(true), {}) ==
          FineTuneEnd::done);
    CHECK(all_values(again) == all_values(found));
  }
}

TEST_CASE("fine-tuning in 16 bits keeps what a step changes in between", "[fine_tune]") {
  const test::SmallModel model("llama3_pruned", DType::bf16);
  const TokenSet sequences = lessons(model.config.vocab_size);
  const ModelWeights expected = load_model_weights(model.source), found = load_model_weights(model.source);
  tune_in_fp64(model.config, expected, DType::bf16, sequences);
  CHECK(fine_tune(ops::Context(), model.config, found, DType::bf16, sequences, at_rate(), {}) ==
        FineTuneEnd::done);
  const std::vector<float> a = all_values(found), b = all_values(expected);
  // A master weight between two bf16 values may fall to either side by its rounding.
  std::size_t different = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) different += a[i] != b[i] ? 1 : 0;
  INFO(different << " of " << a.size());
  CHECK(a.size() == b.size());
  CHECK(different < a.size() / 1000);
}

TEST_CASE("fine-tuning stops before any sequence", "[fine_tune]") {
  const test::SmallModel model("qwen2_pruned");
  const TokenSet all = lessons(model.config.vocab_size);
  for (std::size_t allowed = 0; allowed <= all.sequences(); ++allowed) {
    const ModelWeights found = load_model_weights(model.source), expected = load_model_weights(model.source);
    std::size_t asked = 0;
    const FineTuneEnd end = fine_tune(ops::Context(), model.config, found, DType::f32, all, at_rate(),
                                      [&] { return asked++ == allowed; });
    CHECK(end == (allowed < all.sequences() ? FineTuneEnd::stopped : FineTuneEnd::done));
    TokenSet some;
    some.offsets.assign(all.offsets.begin(), all.offsets.begin() + static_cast<std::ptrdiff_t>(allowed) + 1);
    some.tokens.assign(all.tokens.begin(),
                       all.tokens.begin() + static_cast<std::ptrdiff_t>(some.offsets.back()));
    fine_tune(ops::Context(), model.config, expected, DType::f32, some, at_rate(), {});
    CHECK(all_values(found) == all_values(expected));
  }
}

TEST_CASE("fine-tuning of a weight that is no number diverges", "[fine_tune]") {
  const test::SmallModel model("llama3_pruned");
  const TokenSet sequences = lessons(model.config.vocab_size);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const ModelWeights weights = load_model_weights(model.source);
    weights.layers[0].ffn.down->floats()[1] = bad;
    CHECK(fine_tune(ops::Context(), model.config, weights, DType::f32, sequences, at_rate(), {}) ==
          FineTuneEnd::diverged);
  }
}

TEST_CASE("sequences that predict nothing teach nothing", "[fine_tune]") {
  const test::SmallModel model("llama3_pruned");
  TokenSet sequences;
  sequences.tokens = {1, 2, 3};
  sequences.offsets = {0, 1, 2, 3};
  const ModelWeights weights = load_model_weights(model.source);
  const std::vector<float> before = all_values(weights);
  CHECK(fine_tune(ops::Context(), model.config, weights, DType::f32, sequences, at_rate(), {}) ==
        FineTuneEnd::done);
  CHECK(all_values(weights) == before);
}
