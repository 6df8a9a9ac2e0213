#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <cmath>
#include <cstring>
#include <iostream>
#include <optional>

#include <galapagos/training/batch_gradient.hpp>

using namespace galapagos;

namespace {

struct Computed {
  double loss = 0;  // mean over predicted tokens
  std::vector<float> gradients;
};

/// Nothing where the file does not have it.
template <typename T>
std::vector<T> golden_values(const SafetensorsFile& golden, const std::string& name) {
  const TensorEntry* entry = golden.find(name);
  std::vector<T> all(entry == nullptr ? 0 : entry->data.size() / sizeof(T));
  if (entry != nullptr) std::memcpy(all.data(), entry->data.data(), entry->data.size());
  return all;
}

Computed compute(const test::SmallModel& model, const Batch& batch, const test::SmallModel* reference,
                 bool recompute) {
  const ops::Context context;
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto predicted = static_cast<double>(predicted_tokens(batch.offsets));
  const Gradients gradients(model.weights, Device::cpu);
  // More room than the batch needs: nothing may depend on it.
  TrainingPass pass(context, model.config, tokens + 7, recompute, alone(),
                    reference != nullptr ? TrainingLoss::of_reference() : TrainingLoss());
  std::optional<Teacher> teacher;
  if (reference != nullptr) teacher.emplace(context, reference->source, tokens);
  Computed computed;
  computed.loss = pass.run(model.weights, batch, static_cast<float>(1 / predicted),
                           teacher ? teacher->answer(batch) : ReferenceAnswer(), gradients)
                      .all /
                  predicted;
  computed.gradients = test::values_of(gradients.all());
  return computed;
}

}  // namespace

TEST_CASE("gradients of whole pruned models equal PyTorch's in fp64, with and without recomputation",
          "[training]") {
  struct Case {
    const char *model, *reference;
  };
  for (const Case& of : {Case{"llama3_pruned", "llama3_tiny"},
                         {"qwen2_pruned", "qwen2_tiny"},
                         {"qwen3_pruned", "qwen3_tiny"},
                         {"gemma3_pruned", "gemma3_tiny"}}) {
    const test::SmallModel model(of.model), reference(of.reference);
    const test::GoldenTraining golden(of.model);
    for (const std::string kind : {"gradient", "distillation"}) {
      const test::SmallModel* teacher = kind == "distillation" ? &reference : nullptr;
      const Computed found = compute(model, golden.batch(0), teacher, false);
      const double loss = golden.values(teacher ? "distillation_loss" : "losses").front();
      CHECK(std::abs(found.loss - loss) < 1e-5 * loss);
      double worst = 0;
      std::size_t at = 0;
      for (const NamedTensor& parameter : parameters_of(model.weights)) {
        const auto count = static_cast<std::size_t>(parameter.tensor.elements());
        const auto begin = found.gradients.begin() + static_cast<std::ptrdiff_t>(at);
        const std::vector<float> expected = golden.values(kind + "." + parameter.name);
        const double relative =
            test::largest_difference(std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count)),
                                     expected) /
            test::largest(expected);
        INFO(of.model << ' ' << kind << ' ' << parameter.name << ": " << relative);
        CHECK(relative < 1e-5);  // of the parameter's greatest gradient; fp32 gets to some 1e-6
        worst = std::max(worst, relative);
        at += count;
      }
      CHECK(at == found.gradients.size());
      std::cout << of.model << ", " << kind << ": within " << worst << " of fp64\n";
      const Computed again = compute(model, golden.batch(0), teacher, true);
      CHECK(again.loss == found.loss);
      CHECK(again.gradients == found.gradients);
    }
  }
}

TEST_CASE(
    "gradients of biases, through a part of each head that turns, and of mixtures, equal PyTorch's in fp64",
    "[training]") {
  for (const std::string name : {"biased_pruned", "phi3_pruned", "qwen3_moe_pruned", "mixtral_pruned"}) {
    const test::SmallModel model(name);
    const SafetensorsFile golden(test::data_file("training/" + name + ".safetensors"));
    const auto values = [&]<typename T>(const std::string& of, T) { return golden_values<T>(golden, of); };
    const std::vector<std::int32_t> tokens = values("tokens", std::int32_t{});
    const Batch batch{tokens, {0, 20, 33}};
    const Computed found = compute(model, batch, nullptr, false);
    CHECK(found.loss == Approx(values("losses", 0.0f).at(0)).epsilon(1e-5));
    std::size_t at = 0;
    for (const NamedTensor& parameter : parameters_of(model.weights)) {
      const auto begin = found.gradients.begin() + static_cast<std::ptrdiff_t>(at);
      const std::vector<float> expected = values("gradient." + parameter.name, 0.0f);
      const double relative =
          test::largest_difference(std::vector<float>(begin, begin + parameter.tensor.elements()), expected) /
          std::max(test::largest(expected), 1e-12);  // the router of a single expert has none
      INFO(name << ' ' << parameter.name << ": " << relative);
      CHECK(relative < 1e-5);
      at += static_cast<std::size_t>(parameter.tensor.elements());
    }
    CHECK(at == found.gradients.size());
    const Computed again = compute(model, batch, nullptr, true);
    CHECK(again.gradients == found.gradients);
  }
}

TEST_CASE("the loss that keeps experts in even use, and its gradients, equal transformers' in fp64",
          "[training]") {
  const test::SmallModel model("qwen3_moe_tiny");
  const SafetensorsFile golden(test::data_file("training/qwen3_moe_tiny_router.safetensors"));
  const auto values = [&]<typename T>(const std::string& of, T) { return golden_values<T>(golden, of); };
  const std::vector<std::int32_t> tokens = values("tokens", std::int32_t{});
  const Batch batch{tokens, {0, 20, 33}};
  const std::vector<float> losses = values("losses", 0.0f);
  TrainingLoss loss;
  loss.router = 0.1;
  for (const bool recompute : {false, true}) {
    const ops::Context context;
    const Gradients gradients(model.weights, Device::cpu);
    TrainingPass pass(context, model.config, 40, recompute, alone(), loss);
    const LossSums sums = pass.run(model.weights, batch, 1.0f / 31, {}, gradients);
    CHECK(sums.text / 31 == Approx(losses.at(0)).epsilon(1e-5));
    CHECK(sums.router / 31 == Approx(losses.at(1)).epsilon(1e-5));
    CHECK(sums.all / 31 == Approx(losses.at(0) + 0.1 * losses.at(1)).epsilon(1e-5));
    const std::vector<float> found = test::values_of(gradients.all());
    std::size_t at = 0, compared = 0;
    for (const NamedTensor& parameter : parameters_of(model.weights)) {
      const auto begin = found.begin() + static_cast<std::ptrdiff_t>(at);
      const std::vector<float> expected = values("gradient." + parameter.name, 0.0f);
      at += static_cast<std::size_t>(parameter.tensor.elements());
      if (expected.empty()) continue;
      ++compared;
      const double relative =
          test::largest_difference(std::vector<float>(begin, begin + parameter.tensor.elements()), expected) /
          test::largest(expected);
      INFO(parameter.name << ": " << relative);
      CHECK(relative < 1e-5);
    }
    CHECK(compared > 60);
  }
}

TEST_CASE("gradients of batches add up, and a batch that is no number leaves none", "[training]") {
  const test::SmallModel model("llama3_pruned");
  const test::GoldenTraining golden("llama3_pruned");
  const Batch both = golden.batch(0);
  const Computed together = compute(model, both, nullptr, false);
  const Gradients gradients(model.weights, Device::cpu);
  const ops::Context context;
  TrainingPass pass(context, model.config, 33, false);
  const TokenSet set{{both.tokens.begin(), both.tokens.end()}, {0, 20, 33}};
  const double sum = add_gradients(pass, model.weights, set, 20, 1.0f / 31, nullptr, gradients)->all;
  CHECK(sum / 31 == Approx(together.loss).epsilon(1e-6));
  CHECK(test::largest_difference(test::values_of(gradients.all()), together.gradients) <
        1e-5 * test::largest(together.gradients));

  fill_zero(gradients.all());
  model.weights.norm->floats()[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(add_gradients(pass, model.weights, set, 20, 1.0f / 31, nullptr, gradients)->all));
  CHECK(!add_gradients(pass, model.weights, set, 20, 1.0f / 31, nullptr, gradients, [] { return true; }));
  CHECK(test::largest(test::values_of(gradients.all())) == 0);
}
