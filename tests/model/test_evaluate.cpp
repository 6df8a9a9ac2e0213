#include "support/catch.hpp"
#include "support/files.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/model/evaluate.hpp>

using namespace galapagos;

namespace {

TokenSet random_tokens(std::int32_t vocabulary) {
  std::mt19937 random(5);
  TokenSet set;
  for (int sequence = 0; sequence < 23; ++sequence) {
    const std::size_t length = 1 + random() % 60;
    for (std::size_t i = 0; i < length; ++i)
      set.tokens.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary)));
    set.offsets.push_back(set.tokens.size());
  }
  return set;
}

Evaluation evaluate(const Communicator& comm, const ModelSource& model, const ModelSource* reference,
                    const TokenSet& data, const EvaluationOptions& options) {
  return summarise(score_sequences(comm, ops::Context(), model, reference, data, options));
}

}  // namespace

TEST_CASE("an evaluation is the same, bit for bit, for any number of ranks and stages", "[evaluate]") {
  const Communicator world = Communicator::world(), self = Communicator::self();
  const std::filesystem::path folder = test::data_file("models/llama3_tiny");
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const TokenSet data = random_tokens(static_cast<std::int32_t>(config.vocab_size));
  EvaluationOptions options;
  const ModelSource model = checkpoint_source(checkpoint, config, checkpoint.dtype(), Device::cpu);
  options.batch_tokens = 100;
  options.memory_limit = std::uint64_t{1} << 34;
  const Evaluation alone = evaluate(self, model, nullptr, data, options);
  const Evaluation together = evaluate(world, model, nullptr, data, options);
  // So little memory that ranks have to share a model, where there are several.
  options.memory_limit = world.size() > 1 ? 1590000 : options.memory_limit;
  const Evaluation sharing = evaluate(world, model, nullptr, data, options);
  CHECK(alone.sequences == 23);
  CHECK(alone.tokens == static_cast<std::int64_t>(data.tokens.size()) - 23);
  CHECK(alone.nll > 1);
  CHECK(together.nll == alone.nll);
  CHECK(sharing.nll == alone.nll);
  CHECK(together.tokens == alone.tokens);
  CHECK(alone.perplexity() == Approx(std::exp(alone.nll)));
  options.memory_limit = 1000;
  CHECK_THROWS_AS(evaluate(world, model, nullptr, data, options), Error);
}

TEST_CASE("perplexity of the small Llama equals the golden mean", "[evaluate][shared]") {
  const auto folder = test::shared_file("models/stories260k");
  if (!folder) return;
  const SafetensorsFile golden(*test::shared_file("data/stories260k_logits.safetensors"));
  const TensorEntry& tokens = *golden.find("tokens");
  TokenSet data;
  data.tokens.resize(tokens.data.size() / 4);
  std::memcpy(data.tokens.data(), tokens.data.data(), tokens.data.size());
  for (std::uint64_t at = 96; at <= data.tokens.size(); at += 96) data.offsets.push_back(at);
  EvaluationOptions options;
  options.memory_limit = std::uint64_t{1} << 34;
  const Checkpoint checkpoint(*folder);
  const ModelSource model = checkpoint_source(checkpoint, read_hf_config(*folder), DType::f32, Device::cpu);
  const Evaluation found = evaluate(Communicator::world(), model, nullptr, data, options);
  CHECK(found.nll == Approx(std::stod(golden.metadata().at("mean_nll"))).epsilon(1e-5));
}

TEST_CASE("a model compared with another, and with itself", "[evaluate]") {
  const Communicator world = Communicator::world(), self = Communicator::self();
  const std::filesystem::path folder = test::data_file("models/llama3_tiny");
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const TokenSet data = random_tokens(static_cast<std::int32_t>(config.vocab_size));
  const ModelSource reference = checkpoint_source(checkpoint, config, DType::f32, Device::cpu);
  EvaluationOptions options;
  options.batch_tokens = 100;
  options.memory_limit = std::uint64_t{1} << 34;
  const Evaluation same = evaluate(world, reference, &reference, data, options);
  CHECK(std::abs(same.kl) < 1e-6);
  CHECK(same.top1_agreement == 1);

  ModelSource other = reference;
  other.layer = [&](std::int64_t layer) {
    LayerWeights weights = reference.layer(layer);
    if (layer == 1) weights.ffn = {};
    return weights;
  };
  const Evaluation alone = evaluate(self, other, &reference, data, options);
  CHECK(alone.kl > 1e-4);
  CHECK(alone.top1_agreement < 1);
  const Evaluation together = evaluate(world, other, &reference, data, options);
  CHECK(together.kl == alone.kl);
  CHECK(together.top1_agreement == alone.top1_agreement);
  CHECK(together.nll == evaluate(self, other, nullptr, data, options).nll);

  // Scores of continuations only: what they leave out is what the context's own scores say.
  const std::vector<SequenceScore> all = score_sequences(self, ops::Context(), other, nullptr, data, options);
  for (std::size_t s = 0; s < data.sequences(); ++s) {
    options.context.push_back(
        std::max<std::int64_t>(1, static_cast<std::int64_t>(data.sequence(s).size()) / 2));
  }
  const std::vector<SequenceScore> tail =
      score_sequences(world, ops::Context(), other, nullptr, data, options);
  TokenSet heads;
  for (std::size_t s = 0; s < data.sequences(); ++s) {
    const auto head = data.sequence(s).first(static_cast<std::size_t>(options.context[s]));
    heads.tokens.insert(heads.tokens.end(), head.begin(), head.end());
    heads.offsets.push_back(heads.tokens.size());
  }
  options.context.clear();
  const std::vector<SequenceScore> begin =
      score_sequences(self, ops::Context(), other, nullptr, heads, options);
  for (std::size_t s = 0; s < all.size(); ++s) {
    CHECK(begin[s].nll + tail[s].nll == Approx(all[s].nll).epsilon(1e-4));
    CHECK(begin[s].predicted + tail[s].predicted == all[s].predicted);
  }
}
