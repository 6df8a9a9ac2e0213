#include "io/input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <random>

#include <galapagos/core/json.hpp>
#include <galapagos/core/utf8.hpp>
#include <galapagos/io/text_decoder.hpp>
#include <galapagos/io/tokenizer.hpp>

using namespace galapagos;
using test::contains;
using test::input_error;

namespace {

using Ids = std::vector<std::int32_t>;

/// The tokenizer of a file of the tests' data, with other values of some keys.
std::unique_ptr<Tokenizer> changed(const std::string& base, const Json& changes) {
  if (changes.empty()) return Tokenizer::load(test::data_file(base));
  Json document = read_json(test::data_file(base));
  for (const auto& [key, value] : changes.items()) document[key] = value;
  const test::TemporaryFolder folder;
  test::write_text(folder / "tokenizer.json", document.dump());
  return Tokenizer::load(folder.path());
}

bool is_valid(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

/// What a stream says on the way: the text of all ids before, and then the pieces' sum.
std::string streamed(const TextDecoder& decoder, const Ids& ids) {
  TextStream stream(decoder);
  std::string text;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string piece = stream.push(ids[i]);
    CHECK(is_valid(piece));
    text += piece;
    CHECK(text + stream.rest() == decoder.decode(std::span(ids).first(i + 1)));
  }
  return text + stream.rest();
}

}  // namespace

TEST_CASE("ids become the text that the original tokenizers make of them, at once and one by one",
          "[tokenizer]") {
  const Json golden = read_json(test::data_file("tokenizers/decoding.json"));
  REQUIRE(golden.size() == 17);
  for (const Json& kind : golden) {
    const auto tokenizer = changed(kind["base"], kind["changes"]);
    const auto decoder = tokenizer->decoder(), with_special = tokenizer->decoder(true);
    for (const Json& one : kind["cases"]) {
      INFO(kind["base"] << " " << printable(kind["changes"].dump()) << " " << one["ids"].dump());
      const Ids ids = one["ids"].get<Ids>();
      CHECK(decoder->decode(ids) == one["text"].get<std::string>());
      if (one.contains("special")) CHECK(with_special->decode(ids) == one["special"].get<std::string>());
      CHECK(streamed(*decoder, ids) == one["text"].get<std::string>());
    }
  }
}

TEST_CASE("long streams give what decoding all ids at once gives", "[tokenizer]") {
  std::mt19937 random(11);
  for (const char* base : {"models/llama2_tiny/tokenizer.json", "models/llama3_tiny/tokenizer.json",
                           "models/qwen2_tiny/tokenizer.json", "models/llama2_tiny/tokenizer.model",
                           "tokenizers/unigram.json"}) {
    CAPTURE(base);
    const auto tokenizer = Tokenizer::load(test::data_file(base));
    const auto decoder = tokenizer->decoder();
    for (const unsigned bytes : {0U, 50U, 95U}) {  // of a hundred ids, so many of the vocabulary's front
      Ids ids;
      TextStream stream(*decoder);
      std::string text;
      for (int i = 0; i < 600; ++i) {
        const auto all = static_cast<unsigned>(tokenizer->vocab_size());
        ids.push_back(static_cast<std::int32_t>(random() % (random() % 100 < bytes ? 259U : all)));
        text += stream.push(ids.back());
      }
      CHECK(text + stream.rest() == decoder->decode(ids));
    }
  }
}

TEST_CASE("a character that tokens cut is given whole", "[tokenizer]") {
  const auto tokenizer = Tokenizer::load(test::data_file("models/llama3_tiny"));
  const auto decoder = tokenizer->decoder();
  const std::string turtle = "a\xF0\x9F\x90\xA2z";
  const Ids ids = tokenizer->encode(turtle);
  REQUIRE(ids.size() > 3);
  TextStream stream(*decoder);
  std::vector<std::string> pieces;
  for (const std::int32_t id : ids)
    if (std::string piece = stream.push(id); !piece.empty()) pieces.push_back(std::move(piece));
  CHECK(stream.rest().empty());
  std::string all;
  for (const std::string& piece : pieces) all += piece;
  CHECK(all == turtle);
}

TEST_CASE("ids of no token are passed over, as the originals do", "[tokenizer]") {
  for (const char* base : {"models/llama3_tiny", "models/llama2_tiny/tokenizer.model"}) {
    const auto tokenizer = Tokenizer::load(test::data_file(base));
    const auto decoder = tokenizer->decoder();
    Ids ids = tokenizer->encode("finch");
    const std::string text = decoder->decode(ids);
    ids.insert(ids.begin(), 1 << 20);
    ids.push_back(-1);
    CHECK(decoder->decode(ids) == text);
    CHECK(decoder->decode(Ids()).empty());
  }
}

TEST_CASE("a decoder that is not known is refused by its name, once it is asked for", "[tokenizer]") {
  const auto refused = [](const Json& decoder) {
    const auto tokenizer = changed("models/llama3_tiny/tokenizer.json", {{"decoder", decoder}});
    CHECK(!tokenizer->encode("finch").empty());
    return input_error([&] { tokenizer->decoder(); });
  };
  CHECK(contains(refused({{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}), "'WordPiece'"));
  CHECK(contains(refused({{"type", "CTC"}}), "'CTC'"));
  CHECK(contains(refused({{"type", "Sequence"}}), "no list of decoders"));
  CHECK(contains(refused({{"type", "Sequence"}, {"decoders", Json::array({{{"type", "Odd"}}})}}), "'Odd'"));
  CHECK(contains(refused({{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}}), "single"));
  CHECK(contains(refused({{"type", "Replace"}, {"content", "x"}}), "no pattern"));
  CHECK(contains(refused(Json::object()), "type"));
}
