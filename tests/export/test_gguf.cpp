#include "gguf_model.hpp"
#include "parent.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numbers>
#include <variant>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/export/stitch.hpp>

using namespace galapagos;
using test::farthest;
using test::GgufFile;
using test::GgufModel;
using test::Parent;

namespace {

namespace fs = std::filesystem;

using test::Numbers;
using test::of_layers;
using test::read_gguf;

struct Exported {
  GgufFile file;
  std::vector<double> nll;
};

Exported write(const Communicator& world, const Parent& parent, const Assignment& assignment,
               const fs::path& output, GgufType type, std::uint64_t bytes, const TokenSet& data) {
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = output;
  options.gguf_type = type;
  options.shard_bytes = bytes;
  stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, options);
  GgufFile file = read_gguf(output);
  const fs::path again = output.string() + ".read";
  std::optional<GgufModel> model;
  agree_at_root(world, [&] { model.emplace(file, parent.config, again); });
  if (!model) model.emplace(file, parent.config, fs::path(again.string() + std::to_string(world.rank())));
  world.barrier();
  const Checkpoint checkpoint(again);
  return {std::move(file),
          test::nll_of(world, checkpoint_source(checkpoint, model->config, DType::f32, Device::cpu), data)};
}

}  // namespace

TEST_CASE("a GGUF file holds the model that was measured, in shapes that llama.cpp can load", "[gguf]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "llama2_tiny", "biased_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const Parent parent = test::small_parent(world, name, folder);
    const Assignment assignment = test::with_holes(parent.space);
    const TokenSet data = test::random_tokens(parent.config.vocab_size);
    const std::vector<double> measured = test::nll_in_memory(world, parent, assignment, data);
    const Exported exact = write(world, parent, assignment, folder / "f32", GgufType::f32, 60000, data);
    CHECK(farthest(exact.nll, measured) < 1e-5);
    const Exported half = write(world, parent, assignment, folder / "f16", GgufType::f16, 1 << 30, data);
    CHECK(farthest(half.nll, measured) < 5e-3);
    const Exported bytes = write(world, parent, assignment, folder / "q8", GgufType::q8_0, 1 << 30, data);
    CHECK(farthest(bytes.nll, measured) < 0.1);
    CHECK(farthest(bytes.nll, measured) > 0);

    const auto& architecture = exact.file.get<std::string>("general.architecture");
    const bool norms = parent.config.features.qk_norm;
    CHECK(architecture == (!norms ? "deci" : parent.config.tie_word_embeddings ? "openelm" : "qwen3"));
    const std::int64_t layers = parent.config.layers;
    const Numbers heads = of_layers(exact.file, architecture + ".attention.head_count", layers),
                  columns = of_layers(exact.file, architecture + ".feed_forward_length", layers);
    CHECK(heads.front() > 0);   // llama.cpp takes the size of heads from the first layer
    CHECK(columns.back() > 0);  // and crashes without these in the last
    for (std::size_t l = 0; l < heads.size(); ++l) CHECK((columns[l] > 0 || heads[l] == 0));
    CHECK(exact.file.tensors.contains("output.weight") == !parent.config.tie_word_embeddings);
    CHECK(exact.file.number("general.file_type") == 0);
    CHECK(bytes.file.tensors.at("blk.0.ffn_down.weight").type == 8);
    CHECK(bytes.file.tensors.at("output_norm.weight").type == 0);
    CHECK(fs::exists(folder / "f32/pruning.json"));
    CHECK_FALSE(fs::exists(folder / "f32/config.json"));
  }
}

TEST_CASE("a tied model with norms on heads goes as openelm, with q, k and v in one", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path model = test::data_file("models/qwen3_pruned"), tied = folder / "tied";
  agree_at_root(world, [&] {
    fs::create_directories(tied);
    Json json = read_json(model / "config.json");
    json["tie_word_embeddings"] = true;
    write_file_atomically(tied / "config.json", json.dump());
    std::vector<TensorEntry> entries;
    const Checkpoint checkpoint(model);
    for (const std::string& name : checkpoint.names())
      if (name != "lm_head.weight") entries.push_back(checkpoint.entry(name));
    TensorEntry head = checkpoint.entry("model.embed_tokens.weight");  // as some checkpoints store it
    head.name = "lm_head.weight";
    entries.push_back(head);
    write_safetensors(tied / "model.safetensors", entries);
  });
  const HfConfig config = read_hf_config(tied);
  const Checkpoint checkpoint(tied);
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = folder / "gguf";
  options.gguf_type = GgufType::f32;
  convert_model(world, checkpoint, config, options);
  const GgufFile file = read_gguf(options.output);
  CHECK(file.get<std::string>("general.architecture") == "openelm");
  CHECK(file.tensors.contains("blk.0.attn_qkv.weight"));
  CHECK_FALSE(file.tensors.contains("output.weight"));
  const TokenSet data = test::random_tokens(config.vocab_size);
  const GgufModel read(file, config, folder / ("read" + std::to_string(world.rank())));
  const Checkpoint again(read.folder);
  CHECK(farthest(test::nll_of(world, checkpoint_source(again, read.config, DType::f32, Device::cpu), data),
                 test::nll_of_folder(world, tied, data)) < 1e-5);
}

TEST_CASE("llama3's rope goes into a GGUF file as divisors of frequencies", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path model = test::data_file("models/llama3_tiny");
  const HfConfig config = read_hf_config(model);
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = folder / "gguf";
  const Checkpoint checkpoint(model);
  convert_model(world, checkpoint, config, options);
  const GgufFile file = read_gguf(options.output);
  const std::vector<float>& divisors = file.tensors.at("rope_freqs.weight").values;
  REQUIRE(std::ssize(divisors) == config.head_dim / 2);
  const RopeSettings& rope = config.rope;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    // transformers' rule, by wavelengths.
    const double length =
        2 * std::numbers::pi *
        std::pow(rope.theta, 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    const auto original = static_cast<double>(rope.original_positions);
    double divisor = rope.factor;
    if (length < original / rope.high_freq_factor) {
      divisor = 1;
    } else if (length <= original / rope.low_freq_factor) {
      const double smooth =
          (original / length - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      divisor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    CHECK(std::abs(divisors[i] / divisor - 1) < 1e-5);
  }
  CHECK(file.get<double>("deci.rope.freq_base") == static_cast<float>(rope.theta));
}

TEST_CASE("a GGUF file says what the tokenizer is", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path model = test::data_file("models/tiny");
  const HfConfig config = read_hf_config(model);
  const Checkpoint checkpoint(model);
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = folder / "gguf";
  convert_model(world, checkpoint, config, options);
  const GgufFile file = read_gguf(options.output);
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(model);
  CHECK(file.get<std::string>("tokenizer.ggml.model") == "gpt2");
  const auto& tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  CHECK(std::ssize(tokens) == config.vocab_size);
  const std::vector<Token> vocabulary = tokenizer->vocabulary();
  for (std::size_t id = 0; id < vocabulary.size(); ++id)
    if (vocabulary[id].kind != TokenKind::unused) CHECK(tokens[id] == vocabulary[id].text);
  CHECK(file.get<Numbers>("tokenizer.ggml.token_type").size() == tokens.size());
  CHECK(file.get<std::vector<std::string>>("tokenizer.ggml.merges").size() == tokenizer->merges().size());

  options.output = folder / "none";
  options.gguf_pre = "none";
  convert_model(world, checkpoint, config, options);
  const GgufFile without = read_gguf(options.output);
  CHECK(without.get<std::string>("tokenizer.ggml.model") == "none");
  CHECK_FALSE(without.metadata.contains("tokenizer.ggml.tokens"));
}

namespace {

/// A model's folder with this tokenizer, written as gguf: the file, or why not.
std::variant<std::monostate, GgufFile, std::string> with_tokenizer(const Communicator& world,
                                                                   const fs::path& folder,
                                                                   const Json& tokenizer) {
  const fs::path model = test::data_file("models/llama2_tiny");
  agree_at_root(world, [&] {
    fs::remove_all(folder / "model");
    fs::create_directories(folder);
    fs::copy(model, folder / "model", fs::copy_options::recursive);
    for (const char* name : {"tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"})
      fs::remove(folder / "model" / name);
    write_file_atomically(folder / "model/tokenizer.json", tokenizer.dump());
    fs::remove_all(folder / "gguf");
  });
  const Checkpoint checkpoint(folder / "model");
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = folder / "gguf";
  try {
    convert_model(world, checkpoint, read_hf_config(folder / "model"), options);
  } catch (const Error& error) {
    return std::string(error.what());
  }
  return read_gguf(options.output);
}

/// SentencePiece's BPE as a tokenizer.json: bytes, four letters and what merges make of them.
Json byte_fallback_bpe(bool space_in_front) {
  Json vocabulary = {{"<unk>", 0}};
  std::int32_t id = 1;
  for (int byte = 0; byte < 256; ++byte) vocabulary[fmt::format("<0x{:02X}>", byte)] = id++;
  for (const char* token : {"a", "b", "c", "\u2581", "ab", "\u2581a", "abc", "bc"}) vocabulary[token] = id++;
  Json prepend = {{"type", "Prepend"}, {"prepend", "\u2581"}},
       replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  Json normalizers = Json::array();
  if (space_in_front) normalizers.push_back(prepend);
  normalizers.push_back(replace);
  return {{"version", "1.0"},
          {"added_tokens",
           {{{"id", 0},
             {"content", "<unk>"},
             {"single_word", false},
             {"lstrip", false},
             {"rstrip", false},
             {"normalized", false},
             {"special", true}}}},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"pre_tokenizer", nullptr},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocabulary},
            {"merges", {"b c", "a b", "\u2581 a", "ab c", "a bc"}}}}};
}

}  // namespace

TEST_CASE("SentencePiece's BPE gets scores in the order of its merges", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  for (const bool space : {true, false}) {
    const auto written = with_tokenizer(world, folder / (space ? "a" : "b"), byte_fallback_bpe(space));
    const auto* file = std::get_if<GgufFile>(&written);
    if (file == nullptr) FAIL(std::get<std::string>(written));
    CHECK(file->get<std::string>("tokenizer.ggml.model") == "llama");
    CHECK(file->number("tokenizer.ggml.add_space_prefix") == (space ? 1 : 0));
    const auto& tokens = file->get<std::vector<std::string>>("tokenizer.ggml.tokens");
    const auto& scores = file->get<std::vector<double>>("tokenizer.ggml.scores");
    const auto& kinds = file->get<Numbers>("tokenizer.ggml.token_type");
    REQUIRE(tokens.size() == scores.size());
    const auto score = [&](const char* token) {
      return scores[static_cast<std::size_t>(std::ranges::find(tokens, token) - tokens.begin())];
    };
    CHECK(score("bc") > score("ab"));
    CHECK(score("ab") > score("\u2581a"));
    CHECK(score("\u2581a") > score("abc"));  // by the first merge that makes it
    CHECK(kinds[0] == 2);
    CHECK(kinds[1] == 6);
    CHECK(kinds[257] == 1);
    CHECK(kinds.back() == 5);  // ids of the model that the tokenizer does not have
  }
}

TEST_CASE("a SentencePiece model alone gives its tokens and scores", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path model = test::data_file("models/llama2_tiny");
  agree_at_root(world, [&] {
    fs::copy(model, folder / "model", fs::copy_options::recursive);
    fs::remove(folder / "model/tokenizer.json");
  });
  const Checkpoint checkpoint(folder / "model");
  StitchOptions options;
  options.formats = {&export_format_of("gguf")};
  options.output = folder / "gguf";
  convert_model(world, checkpoint, read_hf_config(folder / "model"), options);
  const GgufFile file = read_gguf(options.output);
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::load(folder / "model");
  CHECK(file.get<std::string>("tokenizer.ggml.model") == "llama");
  const auto& scores = file.get<std::vector<double>>("tokenizer.ggml.scores");
  const std::vector<float> own = tokenizer->scores();
  for (std::size_t id = 0; id < own.size(); ++id) CHECK(scores[id] == static_cast<double>(own[id]));
}

TEST_CASE("what a checkpoint lacks is missing, not zero", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const fs::path model = test::data_file("models/qwen2_pruned");
  const auto without = [&](const std::string& left_out, bool cut) -> std::string {
    const fs::path broken = folder / "broken";
    agree_at_root(world, [&] {
      fs::remove_all(broken);
      fs::create_directories(broken);
      fs::copy_file(model / "config.json", broken / "config.json");
      const Checkpoint checkpoint(model);
      std::vector<TensorEntry> entries;
      for (const std::string& name : checkpoint.names()) {
        TensorEntry entry = checkpoint.entry(name);
        if (name == left_out && !cut) continue;
        if (name == left_out) {
          const std::size_t row = entry.data.size() / static_cast<std::size_t>(entry.shape[0]--);
          entry.data = entry.data.first(entry.data.size() - row);
        }
        entries.push_back(entry);
      }
      write_safetensors(broken / "model.safetensors", entries);
    });
    try {
      const Checkpoint checkpoint(broken);
      StitchOptions options;
      options.formats = {&export_format_of("gguf"), &export_format_of("dense"), &export_format_of("decilm")};
      options.output = folder / "new";
      convert_model(world, checkpoint, read_hf_config(broken), options);
    } catch (const Error& error) {
      CHECK_FALSE(fs::exists(folder / "new"));
      return error.what();
    }
    return "";
  };
  const Checkpoint whole(model);
  const HfConfig config = read_hf_config(model);
  std::int64_t layer = 0;
  while (config.shape(layer).columns == 0 || config.shape(layer).heads() == 0) ++layer;
  const std::string prefix = "model.layers." + std::to_string(layer);
  for (const std::string& name :
       {prefix + ".mlp.up_proj.weight", prefix + ".self_attn.k_proj.weight", std::string("model.norm.weight"),
        std::string("model.embed_tokens.weight")}) {
    CAPTURE(name);
    CHECK(without(name, false) != "");
    CHECK(without(name, true) != "");
  }
}

TEST_CASE("tokenizers that llama.cpp does not have are refused by name", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const auto refusal = [&](const Json& tokenizer) {
    const auto written = with_tokenizer(world, folder / "x", tokenizer);
    const auto* said = std::get_if<std::string>(&written);
    return said == nullptr ? std::string() : *said;
  };
  const auto refused = [&](const Json& tokenizer, const char* why) {
    const std::string said = refusal(tokenizer);
    return world.is_root() ? said.find(why) != std::string::npos
                           : !said.empty();  // the others know that it failed
  };
  const Json bpe = byte_fallback_bpe(true);
  CHECK(refusal(bpe) == "");
  Json without = bpe;
  without["model"]["byte_fallback"] = false;
  CHECK(refused(without, "llama.cpp has no such tokenizer"));
  Json level = read_json(test::data_file("models/llama3_tiny/tokenizer.json"));
  CHECK(refusal(level) == "");
  Json nulls = level;  // which count as absent
  nulls["model"]["end_of_word_suffix"] = nullptr;
  nulls["normalizer"] = nullptr;
  for (Json& stage : nulls["pre_tokenizer"]["pretokenizers"])
    if (stage["type"] == "Split") stage["invert"] = nullptr;
  CHECK(refusal(nulls) == "");
  nulls["normalizer"] = {{"type", "NFKC"}};
  CHECK(refused(nulls, "no name for how this tokenizer cuts texts"));
  level["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "[a-z]+"}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
  CHECK(refused(level, "no name for how this tokenizer cuts texts"));
}

TEST_CASE("models that no architecture of llama.cpp computes are refused by name", "[gguf]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const auto refused = [&](const char* name, const char* why) {
    const fs::path model = test::data_file(std::string("models/") + name);
    const Checkpoint checkpoint(model);
    StitchOptions options;
    options.formats = {&export_format_of("hf"), &export_format_of("gguf")};
    options.output = folder / name;
    try {
      convert_model(world, checkpoint, read_hf_config(model), options);
    } catch (const Error& error) {
      CHECK(error.agreed());
      CHECK_FALSE(fs::exists(options.output));
      CHECK_FALSE(fs::exists(part_path(options.output)));
      return !world.is_root() || std::string(error.what()).find(why) != std::string::npos;
    }
    return false;
  };
  CHECK(refused("gemma3_tiny", "what this family has"));
  CHECK(refused("smollm3_tiny", "different ways"));
  CHECK(refused("phi3_tiny", "turn in part, scaled"));
}
