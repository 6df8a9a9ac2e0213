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

}  // namespace

TEST_CASE("an evaluation is the same, bit for bit, for any number of ranks and stages", "[evaluate]") {
  const Communicator world = Communicator::world(), self = Communicator::self();
  const std::filesystem::path folder = test::data_file("models/llama3_tiny");
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const TokenSet data = random_tokens(static_cast<std::int32_t>(config.vocab_size));
  EvaluationOptions options;
  options.precision = checkpoint.dtype();
  options.batch_tokens = 100;
  options.memory_limit = std::uint64_t{1} << 34;
  const Evaluation alone = evaluate(self, ops::Context(), checkpoint, config, data, options);
  const Evaluation together = evaluate(world, ops::Context(), checkpoint, config, data, options);
  // So little memory that ranks have to share a model, where there are several.
  options.memory_limit = world.size() > 1 ? 1300000 : options.memory_limit;
  const Evaluation sharing = evaluate(world, ops::Context(), checkpoint, config, data, options);
  CHECK(alone.sequences == 23);
  CHECK(alone.tokens == static_cast<std::int64_t>(data.tokens.size()) - 23);
  CHECK(alone.nll > 1);
  CHECK(together.nll == alone.nll);
  CHECK(sharing.nll == alone.nll);
  CHECK(together.tokens == alone.tokens);
  CHECK(alone.perplexity() == Approx(std::exp(alone.nll)));
  options.memory_limit = 1000;
  CHECK_THROWS_AS(evaluate(world, ops::Context(), checkpoint, config, data, options), Error);
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
  const Evaluation found = evaluate(Communicator::world(), ops::Context(), Checkpoint(*folder),
                                    read_hf_config(*folder), data, options);
  CHECK(found.nll == Approx(std::stod(golden.metadata().at("mean_nll"))).epsilon(1e-5));
}
