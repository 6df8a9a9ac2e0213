#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/skip.hpp"

#include <cstdlib>
#include <set>

#include <galapagos/core/json.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;
using test::contains;
using test::input_error;

namespace {

using Ids = std::vector<std::int32_t>;

/// A tokenizer.json with other values of whole keys; of the model, of its keys.
std::unique_ptr<Tokenizer> changed(Json document, const Json& changes, const std::string& settings = "") {
  for (const auto& [key, value] : changes.items()) {
    if (key != "model") {
      document[key] = value;
      continue;
    }
    for (const auto& [name, part] : value.items()) document["model"][name] = part;
  }
  const test::TemporaryFolder folder;
  test::write_text(folder / "tokenizer.json", document.dump());
  if (!settings.empty()) test::write_text(folder / "tokenizer_config.json", settings);
  return Tokenizer::load(folder.path());
}

Json unigram() {
  return read_json(test::data_file("tokenizers/unigram.json"));
}

Json llama2() {
  return read_json(test::data_file("models/llama2_tiny/tokenizer.json"));
}

/// Where the bases of the shared cases are: SmolLM2's comes from a Python package, and so from a folder of
/// its own.
std::optional<std::filesystem::path> base_of_cases(const std::string& name) {
  if (name != "SmolLM2") return *test::shared_file("models/" + name + "/tokenizer.json");
  const char* folder = std::getenv("GALAPAGOS_TEST_SMOLLM2");
  if (folder == nullptr) return std::nullopt;
  return std::filesystem::path(folder) / "tokenizer.json";
}

}  // namespace

TEST_CASE("every kind of normalizer, pre-tokenizer and model gives the ids that the original gives",
          "[tokenizer]") {
  const Json golden = read_json(test::data_file("tokenizers/kinds.json"));
  const Json& texts = golden["texts"];
  REQUIRE(golden["kinds"].size() > 60);
  for (const Json& kind : golden["kinds"]) {
    const auto tokenizer =
        changed(read_json(test::data_file(kind["base"].get<std::string>())), kind["changes"]);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO(kind["base"] << " " << printable(kind["changes"].dump()) << " " << printable(texts[i].dump()));
      CHECK(tokenizer->encode(texts[i].get<std::string>()) == kind["ids"][i].get<Ids>());
    }
  }
}

TEST_CASE("tokenizers in circulation give the ids that the original gives", "[tokenizer][shared]") {
  const auto folder = test::shared_file("cases/tokenizers");
  if (!folder) return;
  const Json texts = read_json(*folder / "texts.json");
  std::set<std::string> without;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().filename() == "texts.json") continue;
    CAPTURE(entry.path());
    const Json golden = read_json(entry.path());
    const auto base = base_of_cases(golden["base"]);
    if (!base) {
      without.insert(golden["base"]);
      continue;
    }
    const auto tokenizer = changed(read_json(*base), golden["changes"]);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      CAPTURE(texts[i]);
      CHECK(tokenizer->encode(texts[i].get<std::string>()) == golden["ids"][i].get<Ids>());
    }
  }
  if (!without.empty())
    test::say_skipped("needs the folder of a SmolLM2 in GALAPAGOS_TEST_SMOLLM2, which is not set");
}

TEST_CASE("a Unigram tells its tokens and scores", "[tokenizer]") {
  const Json file = unigram();
  const auto tokenizer = changed(file, Json::object());
  const std::vector<Token> tokens = tokenizer->vocabulary();
  const std::vector<float> scores = tokenizer->scores();
  const Json& pieces = file["model"]["vocab"];
  REQUIRE(tokens.size() == pieces.size());
  REQUIRE(scores.size() == pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    CHECK(tokens[id].text == pieces[id][0].get<std::string>());
    CHECK(scores[id] == pieces[id][1].get<float>());
  }
  CHECK(tokens[0].kind == TokenKind::unknown);
  CHECK(tokens[1].kind == TokenKind::control);
  CHECK(tokens[13] == Token{"<0x0A>", TokenKind::byte});
  CHECK(tokens[300].kind == TokenKind::normal);
  CHECK(contains(input_error([&] { tokenizer->merges(); }), "scores and no merges"));
  CHECK(contains(tokenizer->description(), "Unigram with 560 ids"));
  CHECK(tokenizer->special_tokens().unk == 0);
}

TEST_CASE("a Unigram's equal sums are told apart as the original does, to the last bit", "[tokenizer]") {
  // Summed from the left, 11 11 1 is more than 1 11 11, but only where -9.332099914550781 is read as the
  // original's parser does.
  const Json model = Json::parse(
      R"({"type": "Unigram", "unk_id": 0,
          "vocab": [["<unk>", 0.0], ["1", -7.622557640075684], ["11", -9.332099914550781]]})");
  const auto tokenizer = changed({{"model", model}}, Json::object());
  CHECK(tokenizer->encode("11111") == Ids{2, 2, 1});
}

TEST_CASE("a Unigram without an unknown token refuses what it cannot spell", "[tokenizer]") {
  const Json model = Json::parse(R"({"type": "Unigram", "unk_id": null, "vocab": [["a", -1], ["b", -1.5]]})");
  const auto tokenizer = changed({{"model", model}}, Json::object());
  CHECK(tokenizer->encode("abba") == Ids{0, 1, 1, 0});
  CHECK(contains(input_error([&] { tokenizer->encode("abc"); }), "unk_id"));
}

TEST_CASE("old files do not name the kind of their model", "[tokenizer]") {
  Json bpe = llama2();
  Json pieces = unigram();
  bpe["model"].erase("type");
  pieces["model"].erase("type");
  const std::string text = "The finch rests.";
  CHECK(changed(bpe, Json::object())->encode(text) == changed(llama2(), Json::object())->encode(text));
  CHECK(changed(pieces, Json::object())->encode(text) == changed(unigram(), Json::object())->encode(text));
}

TEST_CASE("a post-processor decides the BOS token and nothing else", "[tokenizer]") {
  const std::string text = "The finch <s>";
  const Ids ids = changed(llama2(), {{"post_processor", nullptr}})->encode(text);
  const auto bos = [&](const Json& processor, const std::string& settings = "") {
    const auto tokenizer = changed(llama2(), {{"post_processor", processor}}, settings);
    CHECK(tokenizer->encode(text) == ids);
    CHECK(tokenizer->special_tokens().adds_bos == (settings.empty() && tokenizer->bos_id()));
    return tokenizer->bos_id();
  };
  const Json cls = {"<s>", 1}, sep = {"</s>", 2};
  const Json roberta = {{"type", "RobertaProcessing"}, {"cls", cls}, {"sep", sep}};
  const Json first = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const Json whole = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json ids_of = {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}};
  const auto of_template = [&](const Json& single) {
    return Json{{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", ids_of}};
  };
  CHECK_FALSE(bos(nullptr));
  CHECK_FALSE(bos({{"type", "ByteLevel"}}));
  CHECK(bos(roberta) == 1);
  CHECK(bos({{"type", "BertProcessing"}, {"cls", cls}, {"sep", sep}}) == 1);
  CHECK(bos(of_template(Json::array({first, whole}))) == 1);
  CHECK_FALSE(bos(of_template(Json::array({whole, first}))));
  CHECK(bos({{"type", "Sequence"}, {"processors", Json::array({{{"type", "ByteLevel"}}, roberta})}}) == 1);
  CHECK(bos(nullptr, R"({"bos_token": "</s>"})") == 2);
  // The id counts, as in the original, whatever the token is called.
  CHECK(bos({{"type", "RobertaProcessing"}, {"cls", {"<cls>", 2}}, {"sep", sep}}) == 2);
  CHECK(contains(input_error([&] {
                   bos({{"type", "RobertaProcessing"}, {"cls", {"<s>", 9000}}});
                 }),
                 "not in the vocabulary"));
}

TEST_CASE("an added token that the vocabulary has counts with the vocabulary's id", "[tokenizer]") {
  Json document = llama2();
  const auto he = document["model"]["vocab"]["he"].get<std::int32_t>();
  Json token = document["added_tokens"][0];
  token["content"] = "he";
  token["id"] = 768;
  document["added_tokens"].push_back(token);
  token["content"] = "<new>";
  document["added_tokens"].push_back(token);
  const auto tokenizer = changed(document, Json::object());
  CHECK(tokenizer->encode("<new>he") == Ids{768, he});
  CHECK(tokenizer->vocab_size() == 769);
}
