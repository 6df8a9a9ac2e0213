#include "support/catch.hpp"
#include "support/files.hpp"

#include <chrono>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;

namespace {

using Ids = std::vector<std::int32_t>;

std::string decode_base64(const std::string& text) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<unsigned>(digits.find(c));
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(static_cast<unsigned char>(bits >> count));
    }
  }
  return out;
}

std::string text_of(const Json& item) {
  if (item.contains("base64")) return decode_base64(item["base64"]);
  const auto text = item["text"].get<std::string>();
  std::string out = text;
  for (int i = 1; i < item.value("repeat", 1); ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("hard text becomes the ids that the original tokenizers give", "[tokenizer]") {
  const Json golden = read_json(test::data_file("tokenizers/hard_text.json"));
  const Json& cases = golden["cases"];
  REQUIRE(cases.size() > 100);
  for (const auto& [name, ids] : golden["ids"].items()) {
    const auto tokenizer = Tokenizer::load(test::data_file("models/" + name));
    REQUIRE(ids.size() == cases.size());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      INFO(name << ": " << printable(cases[i].dump()));
      CHECK(tokenizer->encode(text_of(cases[i])) == ids[i].get<Ids>());
    }
  }
}

TEST_CASE("other supported definitions give the ids that the originals give", "[tokenizer]") {
  const Json golden = read_json(test::data_file("tokenizers/variants.json"));
  const Json& texts = golden["texts"];
  REQUIRE(golden["variants"].size() == 9);
  for (const Json& variant : golden["variants"]) {
    Json definition =
        read_json(test::data_file("models/" + variant["base"].get<std::string>() + "/tokenizer.json"));
    definition.merge_patch(variant["patch"]);
    const test::TemporaryFolder folder;
    test::write_text(folder / "tokenizer.json", definition.dump());
    const auto tokenizer = Tokenizer::load(folder.path());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO(printable(variant["patch"].dump()) << " " << printable(texts[i].dump()));
      CHECK(tokenizer->encode(texts[i].get<std::string>()) == variant["ids"][i].get<Ids>());
    }
  }
}

TEST_CASE("a tokenizer knows its size, its BOS token and its file", "[tokenizer]") {
  const auto llama3 = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const auto qwen2 = Tokenizer::load(test::data_file("models/qwen2_tiny"));
  const auto llama2 = Tokenizer::load(test::data_file("models/llama2_tiny"));
  const auto model = Tokenizer::load(test::data_file("models/llama2_tiny/tokenizer.model"));
  for (const auto* tokenizer : {&llama3, &qwen2, &llama2, &model}) {
    CHECK((*tokenizer)->vocab_size() == 768);
    CHECK((*tokenizer)->description().find("768 ids") != std::string::npos);
  }
  CHECK(llama3->bos_id() == 760);
  CHECK_FALSE(qwen2->bos_id());
  CHECK(llama2->bos_id() == 1);
  CHECK(model->bos_id() == 1);
  CHECK(llama3->fingerprint() != qwen2->fingerprint());
  CHECK(llama3->fingerprint() == Tokenizer::load(test::data_file("models/llama3_tiny"))->fingerprint());
  CHECK(llama3->encode("<|begin_of_text|>") == Ids{760});
}

TEST_CASE("a SentencePiece model finds its special tokens in a text, as transformers 5 does", "[tokenizer]") {
  const auto model = Tokenizer::load(test::data_file("models/llama2_tiny/tokenizer.model"));
  CHECK(model->encode("a</s>b") == Ids{266, 2, 572});
  CHECK(model->encode("<s>x") == Ids{1, 657});
  CHECK(model->encode("x <unk> y") == Ids{537, 657, 537, 0, 537, 555});
  CHECK(model->encode("a </s> b</s>c") == Ids{266, 537, 2, 334, 2, 548});
  CHECK(model->encode("<s></s>") == Ids{1, 2});
}

TEST_CASE("BOS comes from the template where there is no tokenizer_config.json", "[tokenizer]") {
  const test::TemporaryFolder folder;
  const std::string json = read_file(test::data_file("models/llama3_tiny/tokenizer.json"));
  test::write_text(folder / "tokenizer.json", json);
  CHECK(Tokenizer::load(folder.path())->bos_id() == 760);
  test::write_text(folder / "tokenizer_config.json", R"({"bos_token": {"content": "<|eot_id|>"}})");
  CHECK(Tokenizer::load(folder / "tokenizer.json")->bos_id() == 764);
}

TEST_CASE("invalid UTF-8 counts as U+FFFD for each maximal part", "[tokenizer]") {
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const std::string sign = "\xef\xbf\xbd";
  CHECK(tokenizer->encode("a\xff"
                          "b") == tokenizer->encode("a" + sign + "b"));
  CHECK(tokenizer->encode("a\xe2\x96"
                          "b") == tokenizer->encode("a" + sign + "b"));
  CHECK(tokenizer->encode("\xed\xa0\x80") == tokenizer->encode(sign + sign + sign));
  CHECK(tokenizer->encode("\xf0\x9f\x90") == tokenizer->encode(sign));
  CHECK(tokenizer->encode("\xc0\xaf") == tokenizer->encode(sign + sign));
}

TEST_CASE("a megabyte without any word boundary is tokenized quickly", "[tokenizer]") {
  std::string text;
  while (text.size() < 1'000'000) text += fmt::format("finch{}island", text.size());
  for (const char* name : {"models/llama3_tiny", "models/llama2_tiny"}) {
    const auto tokenizer = Tokenizer::load(test::data_file(name));
    const auto start = std::chrono::steady_clock::now();
    CHECK(tokenizer->encode(text).size() > 100'000);
    CHECK(tokenizer->encode(std::string(1'000'000, 'a')).size() > 100);
    CHECK(tokenizer->encode(std::string(1'000'000, ' ')).size() > 100);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
  }
}

TEST_CASE("a trained Llama's texts become its own ids", "[tokenizer][shared]") {
  const auto golden = test::shared_file("data/stories260k_tokens.json");
  if (!golden) return;
  const auto tokenizer = Tokenizer::load(*test::shared_file("models/stories260k"));
  const Json stories = read_json(*golden);
  REQUIRE(stories.size() > 10);
  std::size_t same = 0;
  for (const Json& story : stories) {
    Ids ids = tokenizer->encode(story["text"].get<std::string>());
    ids.insert(ids.begin(), tokenizer->bos_id().value());
    same += ids == story["ids"].get<Ids>() ? 1 : 0;
  }
  CHECK(same == stories.size());
}
