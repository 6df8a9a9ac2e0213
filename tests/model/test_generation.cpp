#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <memory>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/model/generation.hpp>
#include <galapagos/model/model_weights.hpp>

using namespace galapagos;

namespace {

using Ids = std::vector<std::int32_t>;

struct Model {
  std::filesystem::path folder;
  HfConfig config;
  Checkpoint checkpoint;

  explicit Model(const std::string& name)
      : folder(test::data_file("models/" + name)), config(read_hf_config(folder)), checkpoint(folder) {}
  ModelSource part(const ReplicaGrid& grid) const {
    return checkpoint_source(checkpoint, config, part_of_model(config, grid.shard(), grid.shards()),
                             DType::f32, Device::cpu);
  }
};

/// The greedy tokens behind a prompt, each by the forward pass of the whole text before it.
class Recomputing {
 public:
  explicit Recomputing(const Model& model)
      : config_(model.config),
        weights_(
            load_model_weights(checkpoint_source(model.checkpoint, model.config, DType::f32, Device::cpu))) {}

  Ids behind(Ids text, std::int64_t tokens) const {
    const std::size_t prompt = text.size();
    for (std::int64_t i = 0; i < tokens; ++i) text.push_back(next(text));
    return {text.begin() + static_cast<std::ptrdiff_t>(prompt), text.end()};
  }

 private:
  std::int32_t next(const Ids& text) const {
    const ops::Context context;
    const auto length = std::ssize(text);
    const OwnedTensor hidden = hidden_states(context, config_, length);
    embed_tokens(context, config_, alone(), text, weights_.embedding, hidden);
    LayerForward forward(context, config_, length);
    for (const LayerWeights& layer : weights_.layers)
      forward.run(layer, std::vector<std::int64_t>{0, length}, hidden);
    const OwnedTensor logits({1, config_.vocab_size}, DType::f32, Device::cpu, "test");
    compute_logits(context, config_, weights_.norm, weights_.output(), hidden->slice(length - 1, 1), logits);
    const std::span<const float> row = logits->float_span();
    return static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }

  const HfConfig& config_;
  ModelWeights weights_;
};

std::vector<Ids> random_prompts(const HfConfig& config, std::initializer_list<std::int64_t> lengths) {
  std::mt19937 random(3);
  std::vector<Ids> prompts;
  for (const std::int64_t length : lengths) {
    Ids& prompt = prompts.emplace_back();
    for (std::int64_t i = 0; i < length; ++i)
      prompt.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(config.vocab_size)));
  }
  return prompts;
}

GenerationOptions usual_options(const HfConfig& config) {
  GenerationOptions options;
  options.new_tokens = 9;
  options.longest = config.longest_sequence();
  options.memory_limit = std::uint64_t{1} << 33;
  return options;
}

/// The ids of all texts, on the root.
std::vector<Ids> ids_of(const std::vector<GeneratedText>& texts) {
  std::vector<Ids> ids;
  for (const GeneratedText& text : texts) ids.push_back(text.ids);
  return ids;
}

std::vector<Ids> generated(const Communicator& comm, const Model& model, const std::vector<Ids>& prompts,
                           const GenerationOptions& options, int shards = 1) {
  const ReplicaGrid grid(comm, shards);
  return ids_of(generate(grid, ops::Context(), model.part(grid), prompts, options));
}

}  // namespace

TEST_CASE("greedy texts are those of the whole text's forward pass at every token", "[generation]") {
  const Communicator world = Communicator::world();
  std::vector<const char*> names = {"llama3_pruned", "gemma3_pruned", "phi3_tiny", "qwen3_moe_pruned"};
  if (world.size() == 1)
    names.insert(names.end(),
                 {"llama2_tiny", "llama3_tiny", "mistral_tiny", "qwen2_tiny", "qwen2_pruned", "qwen3_tiny",
                  "qwen3_pruned", "phi3_pruned", "smollm3_tiny", "gemma_tiny", "gemma2_tiny", "gemma3_tiny",
                  "biased_tiny", "biased_pruned", "qwen3_moe_tiny", "mixtral_tiny", "mixtral_pruned"});
  for (const char* name : names) {
    CAPTURE(name);
    const Model model(name);
    // Longer than the windows, and across the length from which Phi-3 turns heads otherwise.
    const std::int64_t across =
        model.config.rope.depends_on_length() ? model.config.rope.original_positions - 3 : std::int64_t{45};
    const std::vector<Ids> prompts = random_prompts(model.config, {1, 12, across, 2, 30, 5, 1});
    GenerationOptions options = usual_options(model.config);
    std::vector<Ids> wanted;
    if (world.is_root()) {
      const Recomputing recomputing(model);
      for (const Ids& prompt : prompts) wanted.push_back(recomputing.behind(prompt, options.new_tokens));
    }
    for (int shards = 1; shards <= world.size(); ++shards) {
      if (world.size() % shards != 0) continue;
      for (const std::int64_t batch : {3, 1, 16}) {
        if (batch != 3 && world.size() > 1) continue;
        options.batch = batch;
        options.batch_tokens = batch == 3 ? 8 : 4096;  // with 8, prompts are read in pieces
        CAPTURE(shards, batch);
        CHECK(generated(world, model, prompts, options, shards) == wanted);
      }
    }
  }
}

TEST_CASE("a text ends with an end, a word or its length", "[generation]") {
  const Communicator world = Communicator::world();
  const Model model("llama3_tiny");
  const std::vector<Ids> prompts = random_prompts(model.config, {4, 7, 4});
  const GenerationOptions usual = usual_options(model.config);
  std::vector<Ids> whole = generated(world, model, prompts, usual);
  whole.resize(prompts.size());
  for (Ids& ids : whole) world.broadcast(ids);
  const ReplicaGrid grid(world, 1);
  const ModelSource source = model.part(grid);
  const auto before = [](const Ids& ids, std::int32_t id) {
    return Ids(ids.begin(), std::find(ids.begin(), ids.end(), id));
  };

  GenerationOptions options = usual;
  options.end_ids = {whole[0][3], whole[1][5]};
  std::vector<GeneratedText> texts = generate(grid, ops::Context(), source, prompts, options);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Ids wanted = before(before(whole[i], options.end_ids[0]), options.end_ids[1]);
    CHECK(texts[i].ids == wanted);
    CHECK((texts[i].reason == StopReason::end) == (wanted.size() < whole[i].size()));
  }

  // Each sees its own prompt's tokens alone, in order.
  std::vector<Ids> seen(prompts.size());
  texts = generate(grid, ops::Context(), source, prompts, usual, [&](std::size_t prompt, std::int32_t id) {
    seen[prompt].push_back(id);
    return seen[prompt].size() == prompt + 2;
  });
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CHECK(texts[i].ids == Ids(whole[i].begin(), whole[i].begin() + static_cast<std::ptrdiff_t>(i + 2)));
    CHECK(texts[i].reason == StopReason::word);
  }
  for (std::size_t i = 0; i < prompts.size(); ++i)
    CHECK((seen[i].empty() ||
           seen[i] == Ids(whole[i].begin(), whole[i].begin() + static_cast<std::ptrdiff_t>(i + 2))));

  options = usual;
  options.longest = 9;
  GenerationSpeed speed;
  texts = generate(grid, ops::Context(), source, prompts, options, {}, &speed);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    CHECK(texts[i].ids.size() + prompts[i].size() == 9);
    CHECK(texts[i].reason == StopReason::length);
  }
  CHECK(speed.prompt_tokens == 15);
  CHECK(speed.new_tokens == 4 + 1 + 4);  // the first of each comes of the prompt
  CHECK(speed.prompt_seconds > 0);
}

TEST_CASE("what is drawn depends on the seed and the prompt's place alone", "[generation]") {
  const Communicator world = Communicator::world(), self = Communicator::self();
  const Model model("qwen2_pruned");
  const std::vector<Ids> prompts = random_prompts(model.config, {3, 3, 8, 1, 20, 6});
  GenerationOptions options = usual_options(model.config);
  options.batch = 1;
  for (const Sampling& sampling :
       {Sampling{0.8, 0, 1, 1}, {1.5, 0, 1, 2}, {1, 40, 1, 1}, {1.2, 0, 0.9, 1}, {0.7, 200, 0.8, 3}}) {
    options.sampling = sampling;
    options.batch = 1;
    const std::vector<Ids> alone = generated(self, model, prompts, options);
    for (int shards = 1; shards <= world.size(); ++shards) {
      if (world.size() % shards != 0) continue;
      for (const std::int64_t batch : {4, 16}) {
        if (batch == 4 && shards > 1) continue;
        options.batch = batch;
        const std::vector<Ids> together = generated(world, model, prompts, options, shards);
        if (world.is_root()) CHECK(together == alone);
      }
    }
    options.sampling.seed += 10;
    CHECK(generated(self, model, prompts, options) != alone);
  }
}

TEST_CASE("a cache that does not fit is refused before anything is read", "[generation]") {
  const Communicator world = Communicator::world();
  const Model model("llama3_tiny");
  GenerationOptions options = usual_options(model.config);
  options.memory_limit = 1 << 16;
  const ReplicaGrid grid(world, 1);
  CHECK_THROWS_AS(
      generate(grid, ops::Context(), model.part(grid), random_prompts(model.config, {4}), options), Error);
}

TEST_CASE("a run that ends early keeps the texts that have ended, and another writes the others",
          "[generation]") {
  const Communicator world = Communicator::world();
  const Model model("qwen2_pruned");
  const std::vector<Ids> prompts = random_prompts(model.config, {3, 3, 8, 1, 20, 6, 2, 9});
  GenerationOptions options = usual_options(model.config);
  options.batch = 2;
  options.limits = {1, 9, 2, 9, 3, 9, 4, 9};
  options.sampling = {0.8, 0, 1, 1};
  for (int shards = 1; shards <= world.size(); ++shards) {
    if (world.size() % shards != 0) continue;
    CAPTURE(shards);
    const std::vector<Ids> whole = generated(world, model, prompts, options, shards);
    for (const int steps : {0, 5}) {
      GenerationOptions first = options;
      int looks = 0;
      Ids kept;  // of each text the prompt, the length and the ids
      first.stops = [&] { return world.rank() == world.size() - 1 && looks++ >= steps; };  // one alone
      first.keep = [&](std::size_t prompt, const GeneratedText& text) {
        kept.push_back(static_cast<std::int32_t>(prompt));
        kept.push_back(static_cast<std::int32_t>(text.ids.size()));
        kept.insert(kept.end(), text.ids.begin(), text.ids.end());
      };
      ExitCode code = ExitCode::done;
      try {
        generated(world, model, prompts, first, shards);
      } catch (const Error& error) {
        code = error.code();
      }
      CHECK(code == ExitCode::stopped_early);
      const Ids all = world.gather(std::span<const std::int32_t>(kept));
      GenerationOptions second = options;
      second.written.resize(prompts.size());
      std::vector<Ids> texts(prompts.size());
      for (auto at = all.begin(); at != all.end();) {
        const auto prompt = static_cast<std::size_t>(*at++);
        const std::int32_t count = *at++;
        CHECK(second.written.at(prompt) == 0);
        second.written[prompt] = 1;
        texts[prompt].assign(at, at + count);
        at += count;
      }
      world.broadcast(second.written);
      if (shards == world.size()) CHECK(std::ranges::count(second.written, 1) == (steps == 0 ? 0 : 2));
      const std::vector<Ids> others = generated(world, model, prompts, second, shards);
      for (std::size_t i = 0; i < others.size(); ++i) {
        CHECK((second.written[i] == 0 || others[i].empty()));
        CHECK((second.written[i] != 0 ? texts[i] : others[i]) == whole[i]);
      }
    }
  }
}
