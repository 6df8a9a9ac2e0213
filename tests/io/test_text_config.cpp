// The text models inside models of text and images.
#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/safetensors.hpp>

using namespace galapagos;
using namespace galapagos::test;

namespace {

/// mistral_tiny as the text model of a Mistral 3, its tensors' names behind a prefix.
void write_inside(const std::filesystem::path& folder, const std::string& prefix, const std::string& head) {
  const std::filesystem::path plain = data_file("models/mistral_tiny");
  Json text = read_json(plain / "config.json");
  text.erase("torch_dtype");
  const Json outer = {{"model_type", "mistral3"},
                      {"architectures", {"Mistral3ForConditionalGeneration"}},
                      {"dtype", "bfloat16"},
                      {"tie_word_embeddings", false},
                      {"vision_config", {{"model_type", "pixtral"}}},
                      {"text_config", text}};
  write_text(folder / "config.json", outer.dump());
  const SafetensorsFile file(plain / "model.safetensors");
  std::vector<TensorEntry> entries(file.entries().begin(), file.entries().end());
  for (TensorEntry& entry : entries)
    entry.name = entry.name == "lm_head.weight" ? head : prefix + entry.name.substr(sizeof("model.") - 1);
  TensorEntry image = entries.front();
  for (const char* name : {"vision_tower.ln_pre.weight", "model.multi_modal_projector.norm.weight"}) {
    image.name = name;
    entries.push_back(image);
  }
  write_safetensors(folder / "model.safetensors", entries);
}

}  // namespace

TEST_CASE("a model of text and images is its text model") {
  const std::filesystem::path plain = data_file("models/mistral_tiny");
  const Checkpoint expected(plain);
  for (const auto& [prefix, head] : {std::pair("language_model.model.", "language_model.lm_head.weight"),
                                     {"model.language_model.", "lm_head.weight"}}) {
    const TemporaryFolder folder;
    write_inside(folder.path(), prefix, head);
    const HfConfig config = read_hf_config(folder.path()), other = read_hf_config(plain);
    CHECK(config.layer_shapes == other.layer_shapes);
    CHECK(config.attention_kinds == other.attention_kinds);
    CHECK(config.torch_dtype == "bfloat16");
    CHECK(config.source["architectures"][0] == "MistralForCausalLM");
    CHECK(config.source["model_type"] == "mistral");
    CHECK_FALSE(config.tie_word_embeddings);
    const Checkpoint checkpoint(folder.path());
    CHECK(checkpoint.names() == expected.names());
    for (const std::string& name : expected.names()) {
      CHECK(checkpoint.entry(name).name == name);
      CHECK(std::ranges::equal(checkpoint.entry(name).data, expected.entry(name).data));
    }
  }
}

TEST_CASE("whether a Mistral 3 that does not say so ties is what its weights say") {
  const TemporaryFolder folder;
  write_inside(folder.path(), "model.language_model.", "lm_head.weight");
  Json outer = read_json(folder / "config.json");
  outer.erase("tie_word_embeddings");
  write_text(folder / "config.json", outer.dump());
  CHECK_FALSE(read_hf_config(folder.path()).tie_word_embeddings);
  CHECK_FALSE(parse_hf_config(outer, "the test").tie_word_embeddings);
  write_inside(folder.path(), "model.language_model.", "vision_tower.no_head.weight");
  write_text(folder / "config.json", outer.dump());
  CHECK(read_hf_config(folder.path()).tie_word_embeddings);
}

TEST_CASE("a model that was saved without its head has its names all the same") {
  const std::filesystem::path plain = data_file("models/qwen2_tiny");
  const TemporaryFolder folder;
  const SafetensorsFile file(plain / "model.safetensors");
  std::vector<TensorEntry> entries(file.entries().begin(), file.entries().end());
  for (TensorEntry& entry : entries) entry.name = entry.name.substr(sizeof("model.") - 1);
  write_safetensors(folder / "model.safetensors", entries);
  CHECK(Checkpoint(folder.path()).names() == Checkpoint(plain).names());
}

TEST_CASE("what a Gemma 3's text_config leaves open, and what is missing") {
  const Json text = {{"hidden_size", 2560},
                     {"intermediate_size", 10240},
                     {"model_type", "gemma3_text"},
                     {"num_hidden_layers", 34},
                     {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                     {"sliding_window", 1024}};
  const Json outer = {{"model_type", "gemma3"}, {"text_config", text}, {"eos_token_id", {1, 106}}};
  const HfConfig config = parse_hf_config(outer, "the test");
  CHECK(config.heads == 8);
  CHECK(config.kv_heads == 4);
  CHECK(config.head_dim == 256);
  CHECK(config.vocab_size == 262208);
  CHECK(config.tie_word_embeddings);
  CHECK(config.eos_id == 1);
  CHECK(config.attention_kind(4).window == 1024);
  CHECK(config.attention_kind(5).window == 0);
  CHECK(contains(input_error([&] {
                   parse_hf_config({{"model_type", "gemma3"}}, "the test");
                 }),
                 "text_config"));
  Json quantized = outer;
  quantized["quantization_config"] = {{"quant_method", "fp8"}};
  CHECK(contains(input_error([&] { parse_hf_config(quantized, "the test"); }), "quantization_config"));
}
