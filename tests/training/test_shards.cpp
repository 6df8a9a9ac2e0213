#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <cmath>
#include <iostream>
#include <map>
#include <optional>

#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/parameter_slices.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/fine_tune.hpp>
#include <galapagos/training/optimiser.hpp>
#include <galapagos/training/random_weights.hpp>

using namespace galapagos;

// All ranks hold one model together; what they compute is compared with what each computes alone.
namespace {

struct Model {
  std::string name;
  HfConfig config;
  std::optional<Checkpoint> checkpoint;

  ModelSource part(const ModelPart& of, DType precision) const {
    return checkpoint ? checkpoint_source(*checkpoint, config, of, precision, Device::cpu)
                      : random_source(config, of, precision, Device::cpu, 5);
  }
};

Model stored(const std::string& name) {
  const std::string folder = test::data_file("models/" + name);
  return {name, read_hf_config(folder), Checkpoint(folder)};
}

/// With a vocabulary and widths that no number of shards from 2 to 5 divides, and layers without heads or
/// columns.
Model odd(const std::string& family) {
  Model model{"odd " + family, read_hf_config(test::data_file("models/" + family + "_pruned")), {}};
  model.config.vocab_size = 101;
  model.config.source["initializer_range"] = 0.2;
  const auto layers = static_cast<std::size_t>(model.config.layers);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    LayerShape& shape = model.config.layer_shapes[layer];
    if (shape.mixture()) shape.columns = 0;
    for (std::int64_t& columns : shape.experts) shape.columns += columns = 3 + (7 * shape.columns) % 17;
    if (!shape.mixture() && shape.columns > 0) shape.columns = 41;
    if (layer + 1 == layers) shape.kv_of_head = {0, 0, 0, 1}, shape.kv_heads = 2;
  }
  return model;
}

std::vector<Model> models() {
  std::vector<Model> all;
  for (const char* name :
       {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "llama2_tiny", "qwen2_tiny", "qwen3_tiny",
        "gemma2_tiny", "gemma3_pruned", "gemma3_tiny", "smollm3_tiny", "biased_tiny", "phi3_tiny",
        "qwen3_moe_pruned", "qwen3_moe_tiny", "mixtral_pruned"})
    all.push_back(stored(name));
  for (const char* family : {"llama3", "qwen2", "qwen3", "gemma3", "qwen3_moe"}) all.push_back(odd(family));
  return all;
}

TokenSet some_tokens(const HfConfig& config) {
  std::mt19937 random(17);
  TokenSet set;
  for (const std::size_t length : {20, 1, 13, 9}) {
    for (std::size_t i = 0; i < length; ++i)
      set.tokens.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(config.vocab_size)));
    set.offsets.push_back(set.tokens.size());
  }
  return set;
}

Shards shards_of(const Communicator& world, const ModelPart& part) {
  return {make_mpi_collectives(world), part.vocabulary.first};
}

/// Values by parameter, in the order of parameters_of().
using Values = std::map<std::string, std::vector<float>>;

Values values_of(const ModelWeights& weights, const Tensor* gradients = nullptr) {
  Values values;
  std::int64_t at = 0;
  for (const NamedTensor& parameter : parameters_of(weights)) {
    const std::int64_t elements = parameter.tensor.elements();
    values[parameter.name] =
        test::values_of(gradients == nullptr ? parameter.tensor : gradients->slice(at, elements));
    at += elements;
  }
  return values;
}

/// The greatest difference between a part's values and those of the whole, relative to a parameter's greatest
/// value, or to `least` where that is greater; infinite where anything is missing.
double worst_difference(const Model& model, const ModelPart& part, const Values& found, const Values& whole,
                        double least = 0) {
  double worst = 0;
  std::size_t seen = 0;
  for (const ParameterSlice& slice : parameter_slices(model.config, part)) {
    const std::vector<float>& all = whole.at(slice.name);
    const std::int64_t columns = slice.whole.rank() == 2 ? slice.whole[1] : 1;
    std::vector<float> expected;
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(all.size()); ++i) {
      const std::int64_t place = slice.slicing == Slicing::columns ? i % columns : i / columns;
      if (place >= slice.range.first && place < slice.range.last)
        expected.push_back(all[static_cast<std::size_t>(i)]);
    }
    if (expected.empty()) continue;
    ++seen;
    const auto own = found.find(slice.name);
    if (own == found.end()) return INFINITY;
    worst = std::max(worst,
                     test::largest_difference(own->second, expected) / std::max(least, test::largest(all)));
  }
  return seen == found.size() ? worst : INFINITY;
}

/// Every shard has its own heads' term of the gradients of what all heads have in common.
void sum_terms(const Shards& shards, Values& gradients) {
  if (shards.alone()) return;
  for (auto& [name, values] : gradients) {
    if (!name.ends_with("q_norm.weight") && !name.ends_with("k_norm.weight") &&
        !name.ends_with("mlp.gate.weight"))
      continue;
    for (float& value : values) value = static_cast<float>(shards.ranks().sum(static_cast<double>(value)));
  }
}

struct Step {
  double loss = 0, norm = 0;
  Values gradients, weights;
};

/// Loss, norm and weights of the second of two steps over all sequences, from the text or from a reference;
/// the first one's gradients, as the second's hang on which way rounding tips the least of these.
Step two_steps(const Model& model, const ModelPart& part, const Model* reference, const Shards& shards,
               bool recompute, double clip, const TrainingLoss& loss) {
  const ops::Context context;
  const TokenSet tokens = some_tokens(model.config);
  const ModelWeights weights = load_model_weights(model.part(part, DType::f32));
  const Gradients gradients(weights, Device::cpu);
  TrainingPass pass(context, part.config, 25, recompute, shards, loss);
  std::optional<Teacher> teacher;
  if (reference != nullptr) {
    const ModelPart of_reference = part_of_model(reference->config, part.shard, part.shards);
    teacher.emplace(context, reference->part(of_reference, DType::f32), 25, shards, loss.layers);
  }
  const auto lane = make_mpi_collectives(Communicator::self());
  ShardedAdamW optimiser(*lane, context, weights, DType::f32, {}, shards);
  Step step;
  for (int i = 0; i < 2; ++i) {
    step.loss = add_gradients(pass, weights, tokens, 25, 0.1f, teacher ? &*teacher : nullptr, gradients)->all;
    if (i == 0) {
      step.gradients = values_of(weights, &gradients.all());
      sum_terms(shards, step.gradients);
    }
    step.norm = optimiser.step(gradients, 1e-3, clip);
  }
  step.weights = values_of(weights);
  return step;
}

}  // namespace

TEST_CASE("parts of a model cover it and share the work", "[shards]") {
  for (const Model& model : models()) {
    for (const int shards : {1, 2, 3, 5}) {
      std::map<std::string, std::int64_t> covered;
      for (int shard = 0; shard < shards; ++shard) {
        const ModelPart part = part_of_model(model.config, shard, shards);
        for (const ParameterSlice& slice : parameter_slices(model.config, part)) {
          if (slice.slicing == Slicing::none) continue;
          CHECK(slice.range.first == covered[slice.name]);
          covered[slice.name] = slice.range.last;
        }
        const ModelWeights weights = load_model_weights(model.part(part, DType::f32));
        std::int64_t held = 0, planned = 0;
        for (const NamedTensor& parameter : parameters_of(weights)) held += parameter.tensor.elements();
        for (const ParameterSlice& slice : parameter_slices(model.config, part))
          planned += slice.shape().elements();
        CHECK(held == planned);
      }
      for (const ParameterSlice& slice : parameter_slices(model.config, part_of_model(model.config, 0, 1))) {
        if (slice.slicing == Slicing::none) continue;
        CHECK(covered[slice.name] == slice.whole[slice.slicing == Slicing::rows ? 0 : 1]);
      }
    }
  }
  // Columns of which only the last ones cost anything.
  HfConfig uneven = stored("llama2_tiny").config;
  for (LayerShape& shape : uneven.layer_shapes) shape.columns = 799;
  std::vector<LayerCosts> costs = layer_costs_of(uneven);
  for (LayerCosts& layer : costs) {
    layer.columns.assign(799, 1e-3);
    layer.columns[790] = 1;
  }
  std::int64_t end = 0;
  for (int shard = 0; shard < 3; ++shard) {
    const Range columns = part_of_model(uneven, costs, shard, 3).layers[0].columns;
    CHECK(columns.first == end);
    CHECK(columns.count() >= 0);
    end = columns.last;
  }
  CHECK(end == 799);

  const HfConfig config = models().back().config;
  CHECK_THROWS_AS(part_of_model(config, 0, 102), UsageError);
}

TEST_CASE("losses, gradients and trained weights of shards are those of the whole model", "[shards]") {
  const Communicator world = Communicator::world();
  for (const Model& model : models()) {
    const ModelPart whole = part_of_model(model.config, 0, 1),
                    part = part_of_model(model.config, world.rank(), world.size());
    const Shards shards = shards_of(world, part);
    const bool learns = model.name.ends_with("_pruned");
    std::optional<Model> reference;
    if (learns) reference = stored(test::unpruned(model.name));
    // The text; a reference's probabilities, compared in two ways; all at once, with a stream that layers
    // hand on as it is.
    std::vector<TrainingLoss> losses = {TrainingLoss()};
    if (model.config.mixture) losses.emplace_back().router = 0.2;
    if (learns) {
      losses.push_back(TrainingLoss::of_reference());
      losses.push_back(TrainingLoss::of_reference(ReferenceLoss::total_variation));
      TrainingLoss& all = losses.emplace_back();
      all.text = 0.5, all.logits = 2, all.temperature = 2, all.hidden = 4;
      all.hidden_loss = model.name == "llama3_pruned" ? ops::HiddenLoss::cosine : ops::HiddenLoss::normalised;
      all.layers = {0, model.config.layers - 2, model.config.layers - 1};
    }
    for (const TrainingLoss& loss : losses) {
      const bool distilled = loss.logits != 0;
      const Model* teacher = distilled ? &*reference : nullptr;
      const double clip = distilled ? 0.5 : 0;
      const Step expected = two_steps(model, whole, teacher, alone(), false, clip, loss);
      const Step found = two_steps(model, part, teacher, shards, distilled, clip, loss);
      const double gradients = world.max(worst_difference(model, part, found.gradients, expected.gradients));
      const double weights = world.max(worst_difference(model, part, found.weights, expected.weights, 0.1));
      INFO(model.name << (distilled ? ", distilled" : "")
                      << (loss.reference_loss == ReferenceLoss::kl ? "" : ", total variation")
                      << (loss.hidden != 0 ? ", hidden states" : "") << ": gradients within " << gradients
                      << ", weights " << weights);
      CHECK(found.loss == Approx(expected.loss).epsilon(2e-6));
      CHECK(found.norm == Approx(expected.norm).epsilon(2e-5));
      CHECK(gradients < 5e-5);  // fp32 got to 1.2e-5
      CHECK(weights < 1e-3);    // a step is as long for a gradient of 1e-8 as for one of 1
      CHECK(world.all(found.loss == world.broadcast_value(found.loss)));
    }
  }
}

TEST_CASE("the perplexity of shards is that of the whole model", "[shards]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  for (const Model& model : models()) {
    const ModelPart part = part_of_model(model.config, world.rank(), world.size());
    const Shards shards = shards_of(world, part);
    const TokenSet tokens = some_tokens(model.config);
    INFO(model.name);
    const double expected =
        sum_nll(context, model.config,
                load_model_weights(model.part(part_of_model(model.config, 0, 1), DType::bf16)), tokens, 30);
    const double found =
        sum_nll(context, part.config, load_model_weights(model.part(part, DType::bf16)), tokens, 30, shards);
    CHECK(found == Approx(expected).epsilon(2e-6));
  }
}

TEST_CASE("fine-tuning on shards is that of the whole model, and stops when the root says so", "[shards]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const Model model = stored("qwen2_pruned");
  const ModelPart whole = part_of_model(model.config, 0, 1),
                  part = part_of_model(model.config, world.rank(), world.size());
  const Shards shards = shards_of(world, part);
  const TokenSet tokens = some_tokens(model.config);
  FineTuneOptions options;
  options.learning_rate = 1e-4;
  for (const DType precision : {DType::f32, DType::bf16}) {
    const ModelWeights expected = load_model_weights(model.part(whole, precision)),
                       found = load_model_weights(model.part(part, precision));
    CHECK(fine_tune(context, model.config, expected, precision, tokens, options, {}) == FineTuneEnd::done);
    CHECK(fine_tune(context, part.config, found, precision, tokens, options, {}, shards) ==
          FineTuneEnd::done);
    const double worst = world.max(worst_difference(model, part, values_of(found), values_of(expected)));
    CHECK(worst < (precision == DType::f32 ? 1e-4 : 1e-2));
  }
  int asked = 0;
  const ModelWeights weights = load_model_weights(model.part(part, DType::f32));
  // Only the root's answer counts.
  CHECK(fine_tune(
            context, part.config, weights, DType::f32, tokens, options,
            [&] { return ++asked > 2 || !world.is_root(); }, shards) == FineTuneEnd::stopped);
}
