#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <cmath>
#include <map>

#include <galapagos/core/file.hpp>
#include <galapagos/io/safetensors.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/ops/transformer.hpp>

// config.json and model.safetensors.index.json as people have them, and what transformers 5 computes with
// each.
using namespace galapagos;

namespace {

namespace fs = std::filesystem;

/// The sum of the log-likelihoods of ids 1 to 199 given those before.
double log_likelihood(const fs::path& folder, const std::vector<std::int32_t>& ids) {
  const ops::Context context;
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const std::int64_t count = 199;
  const std::int64_t offsets[] = {0, count};
  const OwnedTensor hidden = test::poisoned({count, config.hidden_size});
  ops::embed(context, std::span(ids).first(199), load_embedding(checkpoint, config, DType::f32, Device::cpu),
             hidden);
  LayerForward forward(context, config, count);
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    forward.run(load_layer(checkpoint, config, layer, DType::f32, Device::cpu), offsets, hidden);
  const OwnedTensor logits = test::poisoned({count, config.vocab_size});
  compute_logits(context, config, load_head(checkpoint, config, DType::f32, Device::cpu), hidden, logits);
  std::vector<double> nll(199);
  ops::token_nll(context, logits, std::span(ids).subspan(1, 199), nll);
  double sum = 0;
  for (const double value : nll) sum -= value;
  return sum;
}

}  // namespace

TEST_CASE("configurations in circulation give what transformers makes of them", "[model][shared]") {
  const auto cases = test::shared_file("cases/configs");
  if (!cases) return;
  const fs::path weights = *test::shared_file("models/stories260k/model.safetensors");
  const auto ids = read_json(*cases / "ids.json").get<std::vector<std::int32_t>>();
  const Json all = read_json(*cases / "expected.json");
  for (const auto& [name, expected] : all.items()) {
    const test::TemporaryFolder folder;
    fs::copy(*cases / (name + ".json"), folder / "config.json");
    fs::create_symlink(weights, folder / "model.safetensors");
    INFO(name);
    CHECK(std::abs(log_likelihood(folder.path(), ids) - expected.get<double>()) < 2e-3);
  }
}

TEST_CASE("indexes in circulation, with entries that are nowhere or elsewhere", "[model][shared]") {
  const auto cases = test::shared_file("cases");
  if (!cases) return;
  const fs::path model = *test::shared_file("models/stories260k");
  const SafetensorsFile weights(model / "model.safetensors");
  const auto ids = read_json(*cases / "configs/ids.json").get<std::vector<std::int32_t>>();
  const Json right = read_json(*cases / "indexes/stale.json")["weight_map"];
  std::map<std::string, std::vector<TensorEntry>> files;
  for (const TensorEntry& entry : weights.entries())
    files[right[entry.name].get<std::string>()].push_back(entry);
  CHECK(files.size() == 3);
  for (const char* name : {"stale.json", "stale_tied.json", "wrongfile.json"}) {
    const test::TemporaryFolder folder;
    fs::copy(model / "config.json", folder / "config.json");
    fs::copy(*cases / "indexes" / name, folder / "model.safetensors.index.json");
    for (const auto& [file, entries] : files) write_safetensors(folder / file, entries);
    INFO(name);
    CHECK(std::abs(log_likelihood(folder.path(), ids) + 247.3458) < 2e-3);
  }
}

TEST_CASE("a head that differs from the embedding it should be tied to, and biases that are not there",
          "[model]") {
  const test::TemporaryFolder folder;
  const fs::path source = test::data_file("models/biased_tiny");
  const SafetensorsFile file(source / "model.safetensors");
  const auto config_with = [&](const std::vector<TensorEntry>& entries) {
    write_safetensors(folder / "model.safetensors", entries);
    return read_hf_config(folder.path());
  };
  fs::copy(source / "config.json", folder / "config.json");
  std::vector<TensorEntry> entries(file.entries().begin(), file.entries().end());
  CHECK(config_with(entries) == read_hf_config(source));

  TensorEntry head = *file.find("model.embed_tokens.weight");
  head.name = "lm_head.weight";
  entries.push_back(head);
  CHECK(config_with(entries).tie_word_embeddings);
  std::vector<std::byte> other(head.data.begin(), head.data.end());
  other[5] ^= std::byte{1};
  entries.back().data = other;
  const HfConfig untied = config_with(entries);
  CHECK_FALSE(untied.tie_word_embeddings);
  CHECK(untied.source["tie_word_embeddings"] == false);
  const Checkpoint checkpoint(folder.path());
  const HeadWeights found = load_head(checkpoint, untied, DType::bf16, Device::cpu);
  CHECK(std::equal(other.begin(), other.end(), found.head->data));

  const auto without = [&](const std::string& ending) {
    std::vector<TensorEntry> rest;
    for (const TensorEntry& entry : file.entries())
      if (!entry.name.ends_with(ending)) rest.push_back(entry);
    return config_with(rest);
  };
  CHECK(without("o_proj.bias").features == ModelFeatures{.qkv_bias = true, .mlp_bias = true});
  CHECK(without("o_proj.bias").source["attention_bias"] == true);
  const HfConfig none = without(".bias");
  CHECK(none.features == ModelFeatures{});
  CHECK(none.source["attention_bias"] == false);
  CHECK(none.source["mlp_bias"] == false);
  // Some are there: the others are missing.
  const HfConfig some = without("layers.1.mlp.up_proj.bias");
  CHECK(some.features.mlp_bias);
  const Checkpoint lacking(folder.path());
  CHECK_THROWS(load_layer(lacking, some, 1, DType::f32, Device::cpu));
}

TEST_CASE("fused projections are read as their parts", "[model]") {
  const fs::path source = test::data_file("models/phi3_tiny");
  const SafetensorsFile file(source / "model.safetensors");
  const Checkpoint checkpoint(source);
  CHECK(checkpoint.stored() == file.entries().size());
  CHECK(checkpoint.names().size() == file.entries().size() + 3 * 3);
  CHECK_FALSE(checkpoint.has("model.layers.0.self_attn.qkv_proj.weight"));
  const TensorEntry& whole = *file.find("model.layers.1.self_attn.qkv_proj.weight");
  const HfConfig config = read_hf_config(source);
  std::vector<std::byte> joined;
  for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
    const TensorEntry& entry = checkpoint.entry(std::string("model.layers.1.self_attn.") + part + ".weight");
    CHECK(entry.shape[0] == (part[0] == 'q' ? config.heads : config.kv_heads) * config.head_dim);
    joined.insert(joined.end(), entry.data.begin(), entry.data.end());
  }
  CHECK(std::equal(joined.begin(), joined.end(), whole.data.begin(), whole.data.end()));

  const test::TemporaryFolder folder;
  fs::copy(source / "model.safetensors", folder / "model.safetensors");
  Json json = config.source;
  json["num_key_value_heads"] = 1;
  test::write_text(folder / "config.json", json.dump());
  CHECK_THROWS(Checkpoint(folder.path()));
}
