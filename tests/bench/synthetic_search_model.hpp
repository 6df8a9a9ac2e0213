#pragma once

#include "support/files.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/search/evolution.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos::bench {

/// Threads for each rank of a node, so that all of them share its cores.
inline int threads_per_rank(const Communicator& world) {
  return std::max(1, usable_processors() / world.split_node().size());
}

/// The config.json of a Llama of its shape but small: 8 layers, 28 million parameters.
inline Json synthetic_llama_config() {
  Json config;
  config["architectures"] = {"LlamaForCausalLM"};
  config["model_type"] = "llama";
  config["hidden_act"] = "silu";
  config["hidden_size"] = 512;
  config["intermediate_size"] = 1408;
  config["num_hidden_layers"] = 8;
  config["num_attention_heads"] = 8;
  config["num_key_value_heads"] = 4;
  config["head_dim"] = 64;
  config["max_position_embeddings"] = 2048;
  config["rms_norm_eps"] = 1e-5;
  config["rope_theta"] = 10000.0;
  config["tie_word_embeddings"] = false;
  config["torch_dtype"] = "bfloat16";
  config["vocab_size"] = 8192;
  return config;
}

/// Such a model of random bf16 weights.
inline void write_synthetic_llama(const std::filesystem::path& folder) {
  const Json json = synthetic_llama_config();
  const HfConfig config = parse_hf_config(json, "synthetic model");
  const std::int64_t hidden = config.hidden_size, layers = config.layers, heads = config.heads,
                     kv_heads = config.kv_heads, head_dim = config.head_dim,
                     columns = config.intermediate_size, vocabulary = config.vocab_size;
  std::filesystem::create_directories(folder);
  test::write_text(folder / "config.json", json.dump(2));

  std::mt19937 random(1);
  std::vector<TensorEntry> entries;
  std::vector<std::vector<std::byte>> memory;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    const bool norm = shape.size() == 1;
    const float scale =
        name == "model.embed_tokens.weight" ? 1.0f : 1 / std::sqrt(static_cast<float>(shape.back()));
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(static_cast<std::size_t>(norm ? shape[0] : shape[0] * shape[1]), 1.0f);
    if (!norm) {
      for (float& value : values) value = normal(random);
    }
    memory.emplace_back(values.size() * size_of(DType::bf16));
    convert_from_float(values, DType::bf16, memory.back().data());
    entries.push_back({name, "BF16", std::move(shape), memory.back()});
  };
  add("model.embed_tokens.weight", {vocabulary, hidden});
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    add(at + "input_layernorm.weight", {hidden});
    add(at + "self_attn.q_proj.weight", {heads * head_dim, hidden});
    add(at + "self_attn.k_proj.weight", {kv_heads * head_dim, hidden});
    add(at + "self_attn.v_proj.weight", {kv_heads * head_dim, hidden});
    add(at + "self_attn.o_proj.weight", {hidden, heads * head_dim});
    add(at + "post_attention_layernorm.weight", {hidden});
    add(at + "mlp.gate_proj.weight", {columns, hidden});
    add(at + "mlp.up_proj.weight", {columns, hidden});
    add(at + "mlp.down_proj.weight", {hidden, columns});
  }
  add("model.norm.weight", {hidden});
  add("lm_head.weight", {vocabulary, hidden});
  write_safetensors(folder / "model.safetensors", entries);
}

/// Random tokens in sequences of `length`.
inline TokenSet random_tokens(std::int64_t vocabulary, std::int64_t tokens, std::int64_t length,
                              std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::int32_t> token(0, static_cast<std::int32_t>(vocabulary) - 1);
  TokenSet set;
  for (std::int64_t i = 0; i < tokens; ++i) {
    set.tokens.push_back(token(random));
    if ((i + 1) % length == 0 || i + 1 == tokens) set.offsets.push_back(set.tokens.size());
  }
  return set;
}

/// A token file in llm.c's format, 32 bits a token.
inline void write_tokens(const std::filesystem::path& path, const std::vector<std::int32_t>& tokens) {
  std::vector<std::int32_t> words = {20240801, 7, static_cast<std::int32_t>(tokens.size())};
  words.resize(256, 0);
  words.insert(words.end(), tokens.begin(), tokens.end());
  std::string bytes(words.size() * sizeof(std::int32_t), '\0');
  std::memcpy(bytes.data(), words.data(), bytes.size());
  test::write_text(path, bytes);
}

/// A model with a database of its own, made for the benchmark from random tokens, and all that a search needs
/// of them.
struct SearchModel {
  /// Collective. The model in `folder`, or a synthetic one where that is empty.
  SearchModel(const Communicator& comm, const ops::Context& context, const std::filesystem::path& model)
      : folder(comm) {
    constexpr std::int64_t calibration_tokens = 4096, longest = 512;
    const std::filesystem::path path = model.empty() ? folder / "model" : model;
    if (comm.is_root() && model.empty()) write_synthetic_llama(path);
    comm.barrier();
    config = read_hf_config(path);
    length = std::min(longest, config.max_position_embeddings);
    if (comm.is_root()) {
      write_tokens(folder / "calibration.bin",
                   random_tokens(config.vocab_size, calibration_tokens, length, 2).tokens);
    }
    comm.barrier();
    DatabaseOptions options;
    options.model = path;
    options.calibration = {folder / "calibration.bin"};
    options.sequence_length = length;
    options.output = folder / "database.h5";
    build_database(comm, context, options);
    checkpoint.emplace(path);
    database.emplace(options.output);
    space = load_space(comm, *database, config, hex64(checkpoint->fingerprint()));
    budget.emplace(Budget::of_parameters(space, space.fixed_parameters + space.dense_parameters() / 2));
    pool = random_tokens(config.vocab_size, 8192, length, 3);
  }

  /// Words for a headline.
  std::string description() const {
    return fmt::format(
        "hidden {}, {} layers, {} heads of {}, {} KV heads, ffn {}, vocabulary {}, {} million parameters, {}",
        config.hidden_size, config.layers, config.heads, config.head_dim, config.kv_heads,
        config.intermediate_size, config.vocab_size,
        (space.fixed_parameters + space.dense_parameters()) / 1'000'000, name_of(checkpoint->dtype()));
  }

  Replica replica(const ops::Context& context, const LevelStore& store, std::uint64_t cache_limit) const {
    return Replica(context, *checkpoint, config, space, store, checkpoint->dtype(), batch_tokens, length,
                   cache_limit);
  }

  /// The unpruned model's last hidden states for the pool.
  std::vector<float> answers(Replica& from) const {
    const auto hidden = static_cast<std::size_t>(config.hidden_size);
    std::vector<float> all(pool.tokens.size() * hidden);
    for (const Batch& batch : make_batches(pool.tokens, pool.offsets, batch_tokens)) {
      const auto first = static_cast<std::size_t>(batch.tokens.data() - pool.tokens.data());
      from.dense_answers(batch, std::span(all).subspan(first * hidden, batch.tokens.size() * hidden));
    }
    return all;
  }

  static constexpr std::int64_t batch_tokens = 4096;
  test::SharedFolder folder;
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  std::optional<DatabaseReader> database;
  SearchSpace space;
  std::optional<Budget> budget;  // half of the prunable parameters
  TokenSet pool;
  std::int64_t length = 0;  // of the pool's sequences
};

}  // namespace galapagos::bench
