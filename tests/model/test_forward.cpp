#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"

#include <cmath>
#include <cstring>

#include <galapagos/io/safetensors.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/model/forward.hpp>

using namespace galapagos;

namespace {

std::vector<std::int32_t> integers_of(const TensorEntry& entry) {
  std::vector<std::int32_t> values(entry.data.size() / 4);
  std::memcpy(values.data(), entry.data.data(), entry.data.size());
  return values;
}

std::vector<float> floats_of(const TensorEntry& entry) {
  std::vector<float> values(entry.data.size() / 4);
  std::memcpy(values.data(), entry.data.data(), entry.data.size());
  return values;
}

// All logits [sequences * length, vocabulary] of a model on sequences of equal length.
std::vector<float> logits_of(const std::filesystem::path& folder, const std::vector<std::int32_t>& tokens,
                             std::int64_t length) {
  const ops::Context context;
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const DType precision = checkpoint.dtype();
  const auto count = static_cast<std::int64_t>(tokens.size());
  std::vector<std::int64_t> offsets;
  for (std::int64_t at = 0; at <= count; at += length) offsets.push_back(at);
  const OwnedTensor hidden = test::poisoned({count, config.hidden_size});
  const OwnedTensor embedding = load_embedding(checkpoint, config, precision, Device::cpu);
  embed_tokens(context, config, alone(), tokens, embedding, hidden);
  LayerForward forward(context, config, count);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    forward.run(load_layer(checkpoint, config, layer, precision, Device::cpu), offsets, hidden);
  }
  const OwnedTensor logits = test::poisoned({count, config.vocab_size});
  compute_logits(context, config, load_head(checkpoint, config, precision, Device::cpu), hidden, logits);
  return test::values_of(logits);
}

// The largest difference from golden logits, given for all positions or for those in `positions`.
double largest_difference(const std::filesystem::path& model, const std::filesystem::path& golden) {
  const SafetensorsFile file(golden);
  const TensorEntry& tokens = *file.find("tokens");
  const TensorEntry& logits = *file.find("logits");
  const std::int64_t length = tokens.shape[1], vocabulary = logits.shape[2];
  std::vector<std::int32_t> positions;
  if (const TensorEntry* some = file.find("positions")) {
    positions = integers_of(*some);
  } else {
    for (std::int64_t i = 0; i < length; ++i) positions.push_back(static_cast<std::int32_t>(i));
  }
  const std::vector<float> found = logits_of(model, integers_of(tokens), length),
                           expected = floats_of(logits);
  double worst = 0;
  std::size_t at = 0;
  for (std::int64_t sequence = 0; sequence < tokens.shape[0]; ++sequence) {
    for (const std::int32_t position : positions) {
      for (std::int64_t i = 0; i < vocabulary; ++i) {
        const float value = found[static_cast<std::size_t>((sequence * length + position) * vocabulary + i)];
        const double difference = std::abs(static_cast<double>(value) - expected.at(at++));
        worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
      }
    }
  }
  CHECK(at == expected.size());
  return worst;
}

}  // namespace

TEST_CASE("logits of small models of all families equal those of transformers", "[model]") {
  const std::pair<const char*, const char*> models[] = {
      {"llama3_tiny", ""},    {"qwen2_tiny", ""},    {"qwen3_tiny", ""},      {"llama2_tiny", ""},
      {"biased_tiny", ""},    {"phi3_tiny", ""},     {"phi3_tiny", "_short"}, {"mistral_tiny", ""},
      {"smollm3_tiny", ""},   {"gemma_tiny", ""},    {"gemma2_tiny", ""},     {"gemma3_tiny", ""},
      {"qwen3_moe_tiny", ""}, {"qwen3_moe_odd", ""}, {"mixtral_tiny", ""},
  };
  for (const auto& [name, text] : models) {
    const double difference =
        largest_difference(test::data_file(std::string("models/") + name),
                           test::data_file(std::string("forward/") + name + text + ".safetensors"));
    INFO(name << ": largest difference " << difference);
    CHECK(difference < 1e-4);
  }
}

TEST_CASE("logits of pruned models equal those of transformers with the exported code", "[model]") {
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "gemma3_pruned", "biased_pruned",
                           "phi3_pruned", "qwen3_moe_pruned", "mixtral_pruned"}) {
    const std::filesystem::path folder = test::data_file(std::string("models/") + name);
    CHECK(!read_hf_config(folder).even());
    const double difference =
        largest_difference(folder, test::data_file(std::string("forward/") + name + ".safetensors"));
    INFO(name << ": largest difference " << difference);
    CHECK(difference < 1e-4);
  }
}

TEST_CASE("logits of a trained Llama equal those of an independent implementation", "[model][shared]") {
  const auto model = test::shared_file("models/stories260k");
  if (!model) return;
  const double difference =
      largest_difference(*model, *test::shared_file("data/stories260k_logits.safetensors"));
  INFO("largest difference " << difference);
  CHECK(difference < 1e-4);
}

TEST_CASE("a layer may keep any heads and columns, or none", "[model]") {
  const ops::Context context;
  const std::filesystem::path folder = test::data_file("models/llama3_tiny");
  const HfConfig config = read_hf_config(folder);
  const Checkpoint checkpoint(folder);
  const std::vector<std::int64_t> offsets = {0, 30, 31};
  std::mt19937 random(3);
  const OwnedTensor input = test::random_tensor({31, config.hidden_size}, random);
  LayerForward forward(context, config, 31);
  const auto run = [&](const LayerWeights& weights) {
    const OwnedTensor hidden({31, config.hidden_size}, DType::f32, Device::cpu, "test");
    copy_bytes(hidden->data, Device::cpu, input->data, Device::cpu, input->bytes());
    forward.run(weights, offsets, hidden);
    return test::values_of(hidden);
  };
  struct Kept {
    std::vector<std::int64_t> heads, columns;
  };
  std::vector<std::int64_t> odd_columns;
  for (std::int64_t j = 1; j < config.intermediate_size; j += 2) odd_columns.push_back(j);
  for (const Kept& kept : {Kept{{0, 3, 4}, odd_columns}, {{7}, {}}, {{}, {5}}, {{}, {}}}) {
    // The oracle: full shapes, with zeros in the columns of o_proj and down_proj that are gone.
    LayerWeights full = load_layer(checkpoint, config, 1, DType::f32, Device::cpu);
    LayerWeights small = load_layer(checkpoint, config, 1, DType::f32, Device::cpu);
    const auto keep_columns = [](const Tensor& matrix, const std::vector<std::int64_t>& columns) {
      OwnedTensor compact({matrix.rows(), static_cast<std::int64_t>(columns.size())}, DType::f32, Device::cpu,
                          "test");
      std::vector<bool> kept_column(static_cast<std::size_t>(matrix.columns()), false);
      for (std::int64_t i = 0; i < matrix.rows(); ++i) {
        for (std::size_t j = 0; j < columns.size(); ++j) {
          compact->floats()[i * compact->columns() + static_cast<std::int64_t>(j)] =
              matrix.floats()[i * matrix.columns() + columns[j]];
          kept_column[static_cast<std::size_t>(columns[j])] = true;
        }
        for (std::int64_t j = 0; j < matrix.columns(); ++j) {
          if (!kept_column[static_cast<std::size_t>(j)]) matrix.floats()[i * matrix.columns() + j] = 0;
        }
      }
      return compact;
    };
    const auto keep_rows = [](const Tensor& matrix, const std::vector<std::int64_t>& rows) {
      OwnedTensor compact({static_cast<std::int64_t>(rows.size()), matrix.columns()}, DType::f32, Device::cpu,
                          "test");
      for (std::size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(matrix.floats() + rows[i] * matrix.columns(), matrix.columns(),
                    compact->floats() + static_cast<std::int64_t>(i) * matrix.columns());
      }
      return compact;
    };
    std::vector<std::int64_t> head_columns;
    small.attention.kv_of_head.clear();
    for (const std::int64_t head : kept.heads) {
      for (std::int64_t d = 0; d < config.head_dim; ++d) head_columns.push_back(head * config.head_dim + d);
      small.attention.kv_of_head.push_back(full.attention.kv_of_head[static_cast<std::size_t>(head)]);
    }
    small.ffn.columns = static_cast<std::int64_t>(kept.columns.size());
    small.attention.o = keep_columns(full.attention.o, head_columns);
    small.attention.q = keep_rows(full.attention.q, head_columns);
    small.ffn.down = keep_columns(full.ffn.down, kept.columns);
    small.ffn.gate = keep_rows(full.ffn.gate, kept.columns);
    small.ffn.up = keep_rows(full.ffn.up, kept.columns);
    const std::vector<float> expected = run(full), found = run(small);
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double difference = std::abs(static_cast<double>(found[i]) - expected[i]);
      worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    }
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("an embedding is scaled as its type rounds the scale", "[model]") {
  HfConfig config;
  config.hidden_size = 3072;
  CHECK(embedding_scale(config, DType::bf16) == 1);
  config.features.scaled_embedding = true;
  CHECK(embedding_scale(config, DType::bf16) == 55.5f);
  CHECK(embedding_scale(config, DType::f32) == std::sqrt(3072.0f));
}

TEST_CASE("weights that are no numbers are refused by name", "[model]") {
  const test::TemporaryFolder folder;
  const std::filesystem::path source = test::data_file("models/qwen2_tiny");
  std::filesystem::copy(source / "config.json", folder / "config.json");
  const SafetensorsFile file(source / "model.safetensors");
  std::vector<TensorEntry> entries(file.entries().begin(), file.entries().end());
  std::vector<std::byte> spoilt;
  for (TensorEntry& entry : entries) {
    if (entry.name != "model.layers.1.mlp.up_proj.weight") continue;
    spoilt.assign(entry.data.begin(), entry.data.end());
    std::fill(spoilt.end() - 4, spoilt.end(), std::byte{0xff});  // NaN in every float type
    entry.data = spoilt;
  }
  write_safetensors(folder / "model.safetensors", entries);
  const HfConfig config = read_hf_config(folder.path());
  const Checkpoint checkpoint(folder.path());
  CHECK_NOTHROW(load_layer(checkpoint, config, 0, DType::f32, Device::cpu));
  try {
    load_layer(checkpoint, config, 1, DType::f32, Device::cpu);
    FAIL_CHECK("NaN was accepted");
  } catch (const std::exception& error) {
    CHECK(std::string(error.what()).find("layers.1.mlp.up_proj") != std::string::npos);
  }
}
