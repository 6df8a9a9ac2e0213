#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <algorithm>
#include <map>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;
using test::contains;
using test::input_error;

namespace {

std::map<TokenKind, std::int64_t> counted(const std::vector<Token>& tokens) {
  std::map<TokenKind, std::int64_t> counts;
  for (const Token& token : tokens) ++counts[token.kind];
  return counts;
}

TokenMerge merge_of(const Json& entry) {
  if (entry.is_array()) return {entry[0].get<std::string>(), entry[1].get<std::string>()};
  const auto text = entry.get<std::string>();
  return {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
}

}  // namespace

TEST_CASE("a tokenizer.json tells all its tokens and merges", "[tokenizer]") {
  using enum TokenKind;
  const std::map<std::string, std::map<TokenKind, std::int64_t>> kinds = {
      {"tiny", {{normal, 1022}, {control, 2}}},
      {"llama3_tiny", {{normal, 760}, {control, 8}}},
      {"qwen2_tiny", {{normal, 759}, {control, 5}, {user_defined, 4}}},
      {"llama2_tiny", {{normal, 509}, {control, 2}, {unknown, 1}, {byte, 256}}}};
  for (const auto& [name, counts] : kinds) {
    CAPTURE(name);
    const auto folder = test::data_file("models/" + name);
    const Json file = read_json(folder / "tokenizer.json");
    const auto tokenizer = Tokenizer::load(folder);
    const std::vector<Token> tokens = tokenizer->vocabulary();
    REQUIRE(std::ssize(tokens) == tokenizer->vocab_size());
    CHECK(counted(tokens) == counts);
    for (const auto& [text, id] : file["model"]["vocab"].items())
      CHECK(tokens.at(id.get<std::size_t>()).text == text);
    for (const Json& added : file["added_tokens"]) {
      const Token& token = tokens.at(added["id"].get<std::size_t>());
      CHECK(token.text == added["content"].get<std::string>());
      CHECK((token.kind == user_defined) == !added["special"].get<bool>());
    }
    std::vector<TokenMerge> merges;
    for (const Json& merge : file["model"]["merges"]) merges.push_back(merge_of(merge));
    CHECK(tokenizer->merges() == merges);
    CHECK(contains(input_error([&] { tokenizer->scores(); }), "merges and no scores"));
  }
}

TEST_CASE("a SentencePiece model tells its tokens as its tokenizer.json does, and their scores",
          "[tokenizer]") {
  const auto folder = test::data_file("models/llama2_tiny");
  const auto model = Tokenizer::load(folder / "tokenizer.model"), json = Tokenizer::load(folder);
  const std::vector<Token> tokens = model->vocabulary();
  CHECK(tokens == json->vocabulary());
  CHECK(tokens[0] == Token{"<unk>", TokenKind::unknown});
  CHECK(tokens[13] == Token{"<0x0A>", TokenKind::byte});
  CHECK(tokens[260] == Token{"\xe2\x96\x81t", TokenKind::normal});
  const std::vector<float> scores = model->scores();
  REQUIRE(scores.size() == 768);
  for (int id = 0; id < 259; ++id) CHECK(scores[static_cast<std::size_t>(id)] == 0);
  for (int id = 259; id < 768; ++id)
    CHECK(scores[static_cast<std::size_t>(id)] == 259.0f - static_cast<float>(id));
  CHECK(contains(input_error([&] { model->merges(); }), "scores and no merges"));
}

TEST_CASE("pieces that a user defined, and unused ones, are told from normal ones", "[tokenizer]") {
  const test::TemporaryFolder folder;
  std::string model = read_file(test::data_file("models/llama2_tiny/tokenizer.model"));
  const auto piece = [](const std::string& text, char type) {  // of four bytes
    return std::string("\x0a\x0d\x0a\x04") + text + std::string("\x15\0\0\0\0\x18", 6) + type;
  };
  model += piece("<hi>", 4) + piece("<no>", 5);
  test::write_text(folder / "tokenizer.model", model);
  const auto tokenizer = Tokenizer::load(folder.path());
  const std::vector<Token> tokens = tokenizer->vocabulary();
  REQUIRE(tokens.size() == 770);
  CHECK(tokens[768] == Token{"<hi>", TokenKind::user_defined});
  CHECK(tokens[769] == Token{"<no>", TokenKind::unused});
  CHECK(std::ranges::count(tokenizer->encode("a<hi>b<no>"), 768) == 1);
}

TEST_CASE("ids without a token are unused, and no id has two", "[tokenizer]") {
  const auto patched = [](const Json& patch, const test::TemporaryFolder& folder) {
    Json definition = read_json(test::data_file("models/llama2_tiny/tokenizer.json"));
    definition.merge_patch(patch);
    test::write_text(folder / "tokenizer.json", definition.dump());
    return Tokenizer::load(folder.path());
  };
  const test::TemporaryFolder gap, twice;
  const std::vector<Token> tokens = patched({{"model", {{"vocab", {{"zebra", 770}}}}}}, gap)->vocabulary();
  REQUIRE(tokens.size() == 771);
  CHECK(tokens[769] == Token{"", TokenKind::unused});
  CHECK(tokens[770] == Token{"zebra", TokenKind::normal});
  const auto two = patched({{"model", {{"vocab", {{"zebra", 300}}}}}}, twice);
  CHECK(contains(input_error([&] { two->vocabulary(); }), "two tokens have the id 300"));
}

TEST_CASE("the special tokens are those of the settings beside a tokenizer", "[tokenizer]") {
  const auto of = [](const std::string& path) {
    return Tokenizer::load(test::data_file("models/" + path))->special_tokens();
  };
  CHECK(of("tiny") == SpecialTokens{1022, 1023, {}, {}, true});
  CHECK(of("llama3_tiny") == SpecialTokens{760, 761, {}, {}, true});
  CHECK(of("qwen2_tiny") == SpecialTokens{0, 759, {}, {}, false});  // BOS only in config.json
  CHECK(of("llama2_tiny") == SpecialTokens{1, 2, 0, {}, true});
  CHECK(of("llama2_tiny/tokenizer.model") == SpecialTokens{1, 2, 0, {}, true});

  for (const char* file : {"tokenizer.json", "tokenizer.model"}) {
    CAPTURE(file);
    const test::TemporaryFolder folder;
    test::write_text(folder / file, read_file(test::data_file("models/llama2_tiny") / file));
    const auto found = [&] { return Tokenizer::load(folder.path())->special_tokens(); };
    const std::optional<std::int32_t> own_eos =
        std::string(file) == "tokenizer.model" ? std::optional(2) : std::nullopt;
    CHECK(found() == SpecialTokens{1, own_eos, 0, {}, true});
    test::write_text(folder / "config.json", R"({"eos_token_id": [2, 5], "pad_token_id": -1})");
    CHECK(found() == SpecialTokens{1, 2, 0, {}, true});
    test::write_text(folder / "special_tokens_map.json", R"({"eos_token": "he", "pad_token": "</s>"})");
    CHECK(found() == SpecialTokens{1, 259, 0, 2, true});
    test::write_text(folder / "tokenizer_config.json",
                     R"({"eos_token": {"content": "<s>"}, "pad_token": null, "add_bos_token": false})");
    CHECK(found() == SpecialTokens{1, 1, 0, 2, false});
    test::write_text(folder / "tokenizer_config.json", R"({"unk_token": "zebra"})");
    CHECK(contains(input_error([&] { found(); }), "the token 'zebra' is not in the vocabulary"));
    test::write_text(folder / "tokenizer_config.json", "{}");
    test::write_text(folder / "special_tokens_map.json", "{}");
    test::write_text(folder / "config.json", R"({"pad_token_id": 768})");
    CHECK(contains(input_error([&] { found(); }), "pad_token_id"));
  }
}
