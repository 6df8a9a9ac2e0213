#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <functional>
#include <random>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;
using test::contains;
using test::input_error;

namespace {

std::string golden(const std::string& name) {
  return read_file(test::data_file("models/" + name + "/tokenizer.json"));
}

std::string load_error(const std::string& content) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "tokenizer.json", content);
  return input_error([&] { Tokenizer::load(folder.path()); });
}

/// The error on loading a good tokenizer.json after one change.
std::string error_after(const std::string& name, const std::function<void(Json&)>& change) {
  Json document = parse_json(golden(name), name);
  change(document);
  return load_error(document.dump());
}

}  // namespace

TEST_CASE("what a tokenizer.json asks for beyond the supported is refused by name", "[tokenizer]") {
  const auto refused = [](const std::string& name, const std::string& word, auto change) {
    INFO(word);
    CHECK(contains(error_after(name, change), word));
  };
  refused("llama3_tiny", "WordPiece", [](Json& t) { t["model"]["type"] = "WordPiece"; });
  refused("llama3_tiny", "WordLevel", [](Json& t) {
    t["model"].erase("type");
    t["model"].erase("merges");
  });
  refused("llama3_tiny", "has no model", [](Json& t) { t.erase("model"); });
  refused("llama3_tiny", "dropout", [](Json& t) { t["model"]["dropout"] = 0.1; });
  refused("llama3_tiny", "lacks the continuing_subword_prefix",
          [](Json& t) { t["model"]["continuing_subword_prefix"] = "##"; });
  refused("llama3_tiny", "Uppercase", [](Json& t) { t["normalizer"] = {{"type", "Uppercase"}}; });
  refused("llama3_tiny", "(b", [](Json& t) {
    t["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "(b"}}}, {"content", "b"}};
  });
  refused("llama3_tiny", "no pattern", [](Json& t) {
    t["normalizer"] = {{"type", "Replace"}, {"pattern", "b"}, {"content", "b"}};
  });
  for (const char* charsmap : {"", "AAA", "AAAA!AAA", "AAAAAAAAAAAAAAAA", "BAAAAP8AAAD/////"}) {
    refused("llama2_tiny", "precompiled_charsmap", [&](Json& t) {
      t["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", charsmap}};
    });
  }
  refused("llama3_tiny", "Sentences", [](Json& t) { t["pre_tokenizer"] = {{"type", "Sentences"}}; });
  refused("llama3_tiny", "Dropped",
          [](Json& t) { t["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Dropped"; });
  refused("llama3_tiny", "(a", [](Json& t) {
    t["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", "(a"}};
  });
  refused("llama2_tiny", "contradicts itself", [](Json& t) {
    t["pre_tokenizer"] = {{"type", "Metaspace"},
                          {"replacement", "_"},
                          {"prepend_scheme", "first"},
                          {"add_prefix_space", false}};
  });
  refused("llama2_tiny", "not one character", [](Json& t) {
    t["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "__"}};
  });
  refused("llama2_tiny", "PairProcessing", [](Json& t) {
    t["post_processor"] = {{"type", "PairProcessing"}};
  });
  refused("llama2_tiny", "cls", [](Json& t) { t["post_processor"] = {{"type", "RobertaProcessing"}}; });
  refused("llama3_tiny", "zebra", [](Json& t) { t["model"]["merges"].push_back({"zebra", "a"}); });
  for (const Json& merges : {Json(), Json(7), Json::object()})
    refused("llama3_tiny", "'merges' is no list", [&](Json& t) { t["model"]["merges"] = merges; });
  refused("llama3_tiny", "pair", [](Json& t) { t["model"]["merges"].push_back("a b c"); });
  refused("llama3_tiny", "in the place of", [](Json& t) { t["added_tokens"][2]["id"] = 5000; });
  refused("llama3_tiny", "twice", [](Json& t) { t["added_tokens"].push_back(t["added_tokens"][0]); });
  refused("llama3_tiny", "vocabulary is empty", [](Json& t) { t["model"].erase("vocab"); });
  refused("llama3_tiny", "not a number", [](Json& t) { t["model"]["vocab"]["x y"] = -1; });
  refused("llama3_tiny", "not a number", [](Json& t) { t["model"]["vocab"]["x y"] = Json::array(); });
  const auto unigram = [](const std::string& vocabulary) {
    return load_error(R"({"model": {"type": "Unigram", "unk_id": 1, "vocab": [)" + vocabulary + "]}}");
  };
  CHECK(unigram(R"(["a", -1.5], ["<unk>", 0])").empty());
  CHECK(contains(unigram(R"(["a", -1.5])"), "unk_id 1"));
  CHECK(contains(unigram(""), "vocabulary is empty"));
  for (const std::string wrong :
       {R"("a")", "3", R"(["a"])", R"(["a", "b"])", "[1, 2]", R"({"a": 1})", "[[]]"}) {
    CAPTURE(wrong);
    CHECK(contains(unigram(R"(["a", -1.5], ["<unk>", 0], )" + wrong), "not a token and its score"));
  }
}

TEST_CASE("other libraries' tokenizers are refused by name", "[tokenizer]") {
  const auto error = [](const std::string& name, const std::string& content, bool by_folder) {
    const test::TemporaryFolder folder;
    test::write_text(folder / name, content);
    return input_error([&] { Tokenizer::load(by_folder ? folder.path() : folder / name); });
  };
  const std::string ranks = "IQ== 0\nIg== 1\nIw== 2\n";
  for (const char* name : {"qwen.tiktoken", "tiktoken.model", "tokenizer.model"}) {
    for (const bool by_folder : {true, false}) {
      CAPTURE(name, by_folder);
      CHECK(contains(error(name, ranks, by_folder), "tiktoken vocabulary"));
    }
  }
  const std::string tekken = R"({"config": {"pattern": "a"}, "vocab": [{"rank": 0, "token_bytes": "AA=="}]})";
  CHECK(contains(error("tekken.json", tekken, true), "tekken.json"));
  CHECK(contains(error("tekken.json", tekken, false), "tekken.json"));
  CHECK(contains(error("tokenizer.json", tekken, true), "tekken.json"));
  CHECK(contains(error("vocab.json", R"({"a": 0, "model": 1})", false), "vocab.json"));
  const test::TemporaryFolder folder;
  test::write_text(folder / "vocab.json", "{}");
  test::write_text(folder / "merges.txt", "");
  CHECK(contains(input_error([&] { Tokenizer::load(folder.path()); }), "save_pretrained"));
}

TEST_CASE("a pre-tokenizer has no more stages than any needs", "[tokenizer]") {
  Json file = Json::parse(golden("llama3_tiny"));
  Json stages = Json::array();
  for (int i = 0; i < 300; ++i) stages.push_back({{"type", "Digits"}, {"individual_digits", true}});
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", stages}};
  CHECK(contains(load_error(file.dump()), "300 stages"));
}

TEST_CASE("a missing or broken tokenizer is refused", "[tokenizer]") {
  const test::TemporaryFolder folder;
  CHECK(contains(input_error([&] { Tokenizer::load(folder.path()); }), "neither"));
  CHECK(contains(input_error([&] { Tokenizer::load(folder / "none.json"); }), "none.json"));
  CHECK(contains(input_error([&] { Tokenizer::load(folder / "none"); }), "is not a tokenizer"));
  test::write_text(folder / "tokenizer.model", "no model");
  CHECK(contains(input_error([&] { Tokenizer::load(folder.path()); }), "SentencePiece"));
  CHECK(contains(load_error("{"), "JSON"));
  CHECK(contains(load_error(R"({"a": 1, "a": 2})"), "duplicate"));
  CHECK(contains(load_error(R"({"model": {"vocab": {"a": 1, "a": 1}}})"), "twice"));
  CHECK(contains(load_error(std::string(100, '[')), "deep"));
  CHECK(contains(load_error("[]"), "model"));
  test::write_text(folder / "tokenizer.json", golden("llama3_tiny"));
  test::write_text(folder / "tokenizer_config.json", R"({"bos_token": "<none>"})");
  CHECK(contains(input_error([&] { Tokenizer::load(folder.path()); }), "<none>"));
}

TEST_CASE("damaged tokenizer files never do more than fail", "[tokenizer]") {
  std::mt19937_64 random(7);
  const test::TemporaryFolder folder;
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "llama2_tiny", "unigram"}) {
    const std::string good =
        name == std::string("unigram") ? read_file(test::data_file("tokenizers/unigram.json")) : golden(name);
    int loaded = 0;
    for (int i = 0; i < 60; ++i) {
      test::write_text(folder / "tokenizer.json", test::mutated(good, random));
      const std::string error = input_error([&] {
        const auto tokenizer = Tokenizer::load(folder.path());
        for (const auto id : tokenizer->encode("It's <|eot_id|> 12345 caf\xc3\xa9 <s>\n")) {
          CHECK((id >= 0 && id < tokenizer->vocab_size()));
        }
      });
      loaded += error.empty() ? 1 : 0;
    }
    CHECK(loaded < 60);
  }
}
